// Buttons, and what Python sends.

const ACTIONS = {
  open: () => fileInput.click(), paste, camera: cameraOn, shoot, 'camera-off': cameraOff, add: addInTheMiddle,
  undo: () => restore(past, future), redo: () => restore(future, past), delete: () => remove(selected),
  'take-all': () => decide('take', shownCandidates()), 'hits-close': () => { candidates = []; tellFind(''); drawCandidates(); },
  help, 'help-close': () => $('.help').close(),
  accept: () => { $('.confirm').hidden = true; $('.veil').hidden = false; trigger('accept'); },
  refuse: () => { $('.confirm').hidden = true; trigger('refuse'); },
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (button) ACTIONS[button.dataset.act]?.();
  else if (event.target.closest('.drop')) fileInput.click();
});

// The number of a found region has been said; a box that was drawn meanwhile under the same number gets another.
function take(found) {
  const fresh = found.filter((region) => regionOf(region.number)?.score === undefined);
  if (!fresh.length) return;
  remember();
  nextNumber = Math.max(nextNumber, ...fresh.map((region) => region.number + 1));
  for (const region of fresh) {
    const other = regionOf(region.number);
    if (other) other.number = nextNumber++;
    regions.push({...region, box: [...region.box]});
  }
  commit();
}

let shown = {picture: 0, note: 0, warning: 0, found: 0, candidates: 0};

function receive() {
  if (props.picture && props.picture.serial !== shown.picture) {
    shown.picture = props.picture.serial;
    picture = props.picture;
    regions = picture.regions.map((region) => ({number: region.number, box: [...region.box]}));
    nextNumber = Math.max(0, ...regions.map((region) => region.number)) + 1;
    past = []; future = []; selected = null;
    image.src = picture.url;
    image.alt = `The picture ${picture.name}`;
    stage.style.setProperty('--ratio', picture.width / picture.height);
    stage.classList.add('has-ratio');
    frame.hidden = false;
    $('.drop').hidden = true;
    $('.confirm').hidden = true;
    $('.veil').hidden = true;
    say('');
    cameraOff();
    showCandidates({text: '', start: 0, regions: []});
    commit();
  }
  if (props.note && props.note.serial !== shown.note) {
    shown.note = props.note.serial;
    $('.veil').hidden = true;
    say(props.note.text);
  }
  if (props.warning && props.warning.serial !== shown.warning) {
    shown.warning = props.warning.serial;
    $('.veil').hidden = true;
    say('');
    $('.confirm span').textContent = props.warning.text;
    $('.confirm').hidden = false;
    $('[data-act=accept]').focus();
  }
  if (props.found && props.found.serial !== shown.found) {
    shown.found = props.found.serial;
    take(props.found.regions);
  }
  if (props.candidates && props.candidates.serial !== shown.candidates) {
    shown.candidates = props.candidates.serial;
    showCandidates(props.candidates);
  }
  nextNumber = Math.max(nextNumber, (props.asked || 0) + 1);
  render();
}

// Not a list of quoted names: Gradio takes every quoted word of this file for the name of an event.
watch(Object.keys(props), receive);
receive();
