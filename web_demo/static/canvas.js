// The canvas: draw, move, resize, delete and undo numbered boxes on a picture. Runs once when Gradio has put canvas.html on the page
// and is given `element`, `props`, `trigger`, `upload` and `watch` by gr.HTML.
//
// Boxes are kept in pixels of the original picture as floats; the screen only ever gets percentages of it. So no box changes when
// the window does, and none is rounded to the pixels of a shrunk display.
//
// props.value    {regions: [{number, box: [x0, y0, x1, y1]}], selected: number or null}: ours, sent along with every question
// props.picture  {serial, url, width, height, name, regions}: Python's; a new serial is a new picture, with the boxes it comes with
// props.note     {serial, text}: a mistake to show under the picture
// props.warning  {serial, text}: a question to the user: does the waiting picture start a new conversation?
// props.found    {serial, regions: [{number, box, label, score}]}: what the model found, to be drawn beside the user's own
// props.asked    the highest region number that a question has been asked with

const $ = (selector) => element.querySelector(selector);
const stage = $('.stage'), frame = $('.frame'), image = $('.frame img'), layer = $('.regions'), chips = $('.chips');
const fileInput = $('input[type=file]'), video = $('video');
const MIN_SCREEN_PX = 5;      // a smaller drag is a click
const BORDER_SCREEN_PX = 6;   // so near to its edge a box is held by its border
const HANDLES = ['nw', 'n', 'ne', 'e', 'se', 's', 'sw', 'w'];
const MAX_BYTES = 64 * 1024 * 1024;

let picture = null, regions = [], selected = null, nextNumber = 1;
let past = [], future = [], shown = {picture: 0, note: 0, warning: 0, found: 0}, stream = null;

const colour = (number) => props.palette[(number - 1) % props.palette.length];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const round = (value) => Math.round(value * 100) / 100;
const copy = () => regions.map((region) => ({...region, box: [...region.box]}));
const title = (region) => region.label ? `${region.number} ${region.label} ${region.score.toFixed(2)}` : `${region.number}`;
const find = (number) => regions.find((region) => region.number === number);

// --- state -----------------------------------------------------------------------------------------------------------------------

function remember() {
  past.push({regions: copy(), nextNumber});
  if (past.length > 200) past.shift();
  future = [];
}

function restore(from, to) {
  const state = from.pop();
  if (!state) return;
  to.push({regions: copy(), nextNumber});
  regions = state.regions;
  // A number that a question was asked with stays with its box for ever; others may be given again.
  nextNumber = Math.max(state.nextNumber, (props.asked || 0) + 1);
  if (!find(selected)) selected = null;
  commit();
}

function commit() {
  share();
  render();
}

function share() { props.value = {regions: copy(), selected}; }

function say(text) { $('.note').textContent = text || ''; }

function select(number, focus) {
  if (selected !== number) { selected = number; share(); }
  render();
  if (focus && number !== null) layer.querySelector(`[data-number="${number}"]`)?.focus({preventScroll: true});
}

function add(box, focus) {
  remember();
  const number = nextNumber++;
  regions.push({number, box});
  selected = number;
  commit();
  if (focus) select(number, true);
}

function remove(number) {
  if (!find(number)) return;
  remember();
  regions = regions.filter((region) => region.number !== number);
  if (selected === number) selected = null;
  commit();
  stage.focus({preventScroll: true});
}

// --- drawing it on the page ------------------------------------------------------------------------------------------------------

function place(node, box) {
  node.style.left = `${box[0] / picture.width * 100}%`;
  node.style.top = `${box[1] / picture.height * 100}%`;
  node.style.width = `${(box[2] - box[0]) / picture.width * 100}%`;
  node.style.height = `${(box[3] - box[1]) / picture.height * 100}%`;
}

// Nodes are kept by number, so that the focus and a drag in progress survive.
function keyed(parent, make, update) {
  const old = new Map([...parent.children].map((node) => [Number(node.dataset.number), node]));
  for (const region of regions) {
    const node = old.get(region.number) || make(region);
    old.delete(region.number);
    update(node, region);
    if (node.parentElement !== parent) parent.append(node);
  }
  old.forEach((node) => node.remove());
}

function render() {
  keyed(layer, makeBox, (node, region) => {
    place(node, region.box);
    node.classList.toggle('selected', region.number === selected);
    node.setAttribute('aria-pressed', region.number === selected);
    node.classList.toggle('found', !!region.label);
    node.querySelector('.tag').textContent = title(region);
  });
  keyed(chips, makeChip, (node, region) => node.classList.toggle('selected', region.number === selected));
  $('[data-act=add]').disabled = !picture;
  $('[data-act=undo]').disabled = !past.length;
  $('[data-act=redo]').disabled = !future.length;
  $('[data-act=delete]').disabled = selected === null;
  element.classList.toggle('has-picture', !!picture);
  element.classList.toggle('has-regions', regions.length > 0);
}

function makeBox(region) {
  const node = document.createElement('div');
  node.className = 'region';
  node.tabIndex = 0;
  node.dataset.number = region.number;
  node.setAttribute('role', 'button');
  node.setAttribute('aria-label', `Region ${region.number}. Arrows move it, with Shift they resize it; Delete removes it; Enter puts it into the question.`);
  node.style.setProperty('--region', colour(region.number));
  node.innerHTML = `<span class="tag">${Number(region.number)}</span>` + HANDLES.map((name) => `<i data-handle="${name}"></i>`).join('');
  node.addEventListener('focus', () => { if (selected !== region.number) select(region.number); });
  return node;
}

function makeChip(region) {
  const node = document.createElement('span');
  node.className = 'chip';
  node.dataset.number = region.number;
  node.style.setProperty('--region', colour(region.number));
  node.innerHTML = `<button type="button" class="insert" title="Put this region into the question"><b>${Number(region.number)}</b>&lt;region${Number(region.number)}&gt;</button>`
    + `<button type="button" class="remove" aria-label="Delete region ${Number(region.number)}" title="Delete">×</button>`;
  return node;
}

// --- pointer: mouse, pen and finger alike ----------------------------------------------------------------------------------------

function toPicture(event) {
  const rect = frame.getBoundingClientRect();
  return [
    clamp((event.clientX - rect.left) / rect.width * picture.width, 0, picture.width),
    clamp((event.clientY - rect.top) / rect.height * picture.height, 0, picture.height),
  ];
}

function perScreenPixel() {
  const rect = frame.getBoundingClientRect();
  return [picture.width / rect.width, picture.height / rect.height];
}

const span = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])].map(round);

function shifted(box, dx, dy) {
  dx = clamp(dx, -box[0], picture.width - box[2]);
  dy = clamp(dy, -box[1], picture.height - box[3]);
  return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy].map(round);
}

function resized(box, handle, dx, dy) {
  const [px, py] = perScreenPixel();
  const [w, h] = [Math.min(MIN_SCREEN_PX * px, box[2] - box[0]), Math.min(MIN_SCREEN_PX * py, box[3] - box[1])];
  const out = [...box];
  if (handle.includes('w')) out[0] = clamp(box[0] + dx, 0, box[2] - w);
  if (handle.includes('e')) out[2] = clamp(box[2] + dx, box[0] + w, picture.width);
  if (handle.includes('n')) out[1] = clamp(box[1] + dy, 0, box[3] - h);
  if (handle.includes('s')) out[3] = clamp(box[3] + dy, box[1] + h, picture.height);
  return out.map(round);
}

// The smallest box under a point: so that a box inside a box can be picked.
function under([x, y]) {
  const size = (region) => (region.box[2] - region.box[0]) * (region.box[3] - region.box[1]);
  return regions.filter(({box}) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]).sort((a, b) => size(a) - size(b))[0];
}

function onBorder(region, [x, y]) {
  const [px, py] = perScreenPixel(), [x0, y0, x1, y1] = region.box;
  return Math.min(Math.abs(x - x0), Math.abs(x - x1)) <= BORDER_SCREEN_PX * px || Math.min(Math.abs(y - y0), Math.abs(y - y1)) <= BORDER_SCREEN_PX * py;
}

frame.addEventListener('pointerdown', (event) => {
  if (event.button !== 0 || !event.isPrimary) return;
  event.preventDefault();
  say('');
  const start = toPicture(event), node = event.target.closest('.region');
  const number = node ? Number(node.dataset.number) : null;
  const handle = event.target.dataset.handle;
  // A box is moved by its border or its number and resized by its handles; elsewhere a drag draws, also inside a box just drawn.
  const held = number !== null && (handle || event.target.classList.contains('tag') || onBorder(find(number), start));
  const grabbed = held ? find(number) : null;
  const before = grabbed ? [...grabbed.box] : null;
  let dragged = false, ghost = null;
  if (grabbed) select(number, true); else stage.focus({preventScroll: true});
  frame.setPointerCapture(event.pointerId);

  const move = (moved) => {
    if (moved.pointerId !== event.pointerId) return;
    const far = Math.max(Math.abs(moved.clientX - event.clientX), Math.abs(moved.clientY - event.clientY));
    if (!dragged && far < (grabbed ? 1 : MIN_SCREEN_PX)) return;
    const now = toPicture(moved), [dx, dy] = [now[0] - start[0], now[1] - start[1]];
    if (!dragged) {
      dragged = true;
      if (grabbed) remember();
      else {
        ghost = document.createElement('div');
        ghost.className = 'region drawing';
        ghost.style.setProperty('--region', colour(nextNumber));
        frame.append(ghost);
      }
    }
    if (ghost) place(ghost, span(start, now));
    else {
      grabbed.box = handle ? resized(before, handle, dx, dy) : shifted(before, dx, dy);
      render();
    }
  };
  const end = (ended) => {
    if (ended.pointerId !== event.pointerId) return;
    for (const [name, listener] of [['pointermove', move], ['pointerup', end], ['pointercancel', end]]) frame.removeEventListener(name, listener);
    ghost?.remove();
    if (ended.type === 'pointercancel') {
      if (dragged && grabbed) { grabbed.box = before; past.pop(); render(); }
    } else if (dragged && grabbed) commit();
    else if (dragged) {
      const box = span(start, toPicture(ended)), [px, py] = perScreenPixel();
      if (box[2] - box[0] < MIN_SCREEN_PX * px || box[3] - box[1] < MIN_SCREEN_PX * py) say('That box is too thin to see. Drag from one corner to the opposite one.');
      else add(box);
    } else {
      const hit = under(start);
      if (hit) select(hit.number, true);
      else { select(null); if (!regions.length) say('Drag to draw a box: press in one corner and release in the opposite one.'); }
    }
  };
  for (const [name, listener] of [['pointermove', move], ['pointerup', end], ['pointercancel', end]]) frame.addEventListener(name, listener);
});

// --- keyboard --------------------------------------------------------------------------------------------------------------------

function addInTheMiddle() {
  if (!picture) return;
  // Each a little further down, so that two boxes never hide each other.
  const shift = (regions.length % 5) * 0.05;
  const [w, h] = [picture.width, picture.height];
  add([w * (0.3 + shift), h * (0.3 + shift), w * (0.6 + shift), h * (0.6 + shift)].map(round), true);
}

stage.addEventListener('keydown', (event) => {
  if (!picture || event.target.closest('.camera, .confirm')) return;
  const command = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
  if (command && key === 'z') { event.shiftKey ? restore(future, past) : restore(past, future); event.preventDefault(); return; }
  if (command && key === 'y') { restore(future, past); event.preventDefault(); return; }
  if (command || event.altKey) return;
  if (key === 'n') { addInTheMiddle(); event.preventDefault(); return; }
  const region = find(selected);
  if (!region) return;
  const [px, py] = perScreenPixel(), step = 4;
  const arrow = {arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1]}[key];
  if (arrow) {
    // One held key is one step of undo.
    if (!event.repeat) remember();
    const [dx, dy] = [arrow[0] * step * px, arrow[1] * step * py];
    region.box = event.shiftKey ? resized(region.box, 'se', dx, dy) : shifted(region.box, dx, dy);
    commit();
  } else if (key === 'delete' || key === 'backspace') remove(selected);
  else if (key === 'escape') { select(null); stage.focus({preventScroll: true}); }
  else if (key === 'enter' && event.target.closest('.region')) insert(region.number);
  else return;
  event.preventDefault();
});

// --- the question box ------------------------------------------------------------------------------------------------------------

function insert(number) {
  const box = document.querySelector('#question textarea');
  if (!box) return;
  const [from, to] = [box.selectionStart ?? box.value.length, box.selectionEnd ?? box.value.length];
  const before = box.value.slice(0, from), after = box.value.slice(to);
  const text = `${before && !/\s$/.test(before) ? ' ' : ''}<region${number}>${/^[\s?.,!;:)]/.test(after) ? '' : ' '}`;
  box.value = before + text + after;
  box.dispatchEvent(new Event('input', {bubbles: true}));
  box.focus();
  box.setSelectionRange(from + text.length, from + text.length);
}

chips.addEventListener('click', (event) => {
  const chip = event.target.closest('.chip');
  if (!chip) return;
  const number = Number(chip.dataset.number);
  if (event.target.closest('.remove')) remove(number);
  else { select(number); insert(number); }
});

// --- pictures in -----------------------------------------------------------------------------------------------------------------

async function send(file) {
  if (!file) return;
  if (file.size > MAX_BYTES) return say(`'${file.name}' has ${Math.round(file.size / 1048576)} MB; the limit is ${MAX_BYTES / 1048576} MB. Shrink it and open it again.`);
  say('');
  $('.veil').hidden = false;
  try {
    const {path} = await upload(file);
    trigger('upload', {path, name: file.name || 'picture.png'});
  } catch (error) {
    $('.veil').hidden = true;
    say(`'${file.name}' could not be sent (${error.message || error}); try again.`);
  }
}

const pictureOf = (transfer) => [...(transfer?.files || [])][0];

async function paste() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((name) => name.startsWith('image/'));
      if (type) return send(new File([await item.getType(type)], `pasted.${type.split('/')[1]}`, {type}));
    }
    say('There is no picture on the clipboard. Copy one first.');
  } catch {
    say('The browser does not let this button read the clipboard. Press Ctrl+V (⌘V) instead.');
  }
}

async function cameraOn() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: 'environment'}});
    video.srcObject = stream;
    await video.play();
    $('.camera').hidden = false;
    say('');
    $('[data-act=shoot]').focus();
  } catch (error) {
    cameraOff();
    say(`The camera could not be opened (${error.name || 'not available on this page'}). Allow it in the browser, or open a photo instead.`);
  }
}

function cameraOff() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $('.camera').hidden = true;
}

function shoot() {
  const still = document.createElement('canvas');
  still.width = video.videoWidth;
  still.height = video.videoHeight;
  still.getContext('2d').drawImage(video, 0, 0);
  cameraOff();
  still.toBlob((blob) => send(new File([blob], 'camera.png', {type: 'image/png'})), 'image/png');
}

fileInput.addEventListener('change', () => { send(fileInput.files[0]); fileInput.value = ''; });
document.addEventListener('paste', (event) => {
  const file = pictureOf(event.clipboardData);
  if (file) { event.preventDefault(); send(file); }
});
for (const name of ['dragover', 'dragenter']) stage.addEventListener(name, (event) => { event.preventDefault(); stage.classList.add('over'); });
for (const name of ['dragleave', 'drop']) stage.addEventListener(name, () => stage.classList.remove('over'));
stage.addEventListener('drop', (event) => {
  event.preventDefault();
  const file = pictureOf(event.dataTransfer);
  if (file) send(file); else say('That was not a file. Save the picture first, then open it.');
});

const ACTIONS = {
  open: () => fileInput.click(), paste, camera: cameraOn, shoot, 'camera-off': cameraOff, add: addInTheMiddle,
  undo: () => restore(past, future), redo: () => restore(future, past), delete: () => remove(selected),
  accept: () => { $('.confirm').hidden = true; $('.veil').hidden = false; trigger('accept'); },
  refuse: () => { $('.confirm').hidden = true; trigger('refuse'); },
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (button) ACTIONS[button.dataset.act]?.();
  else if (event.target.closest('.drop')) fileInput.click();
});

// --- what Python sends -----------------------------------------------------------------------------------------------------------

function receive() {
  if (props.picture && props.picture.serial !== shown.picture) {
    shown.picture = props.picture.serial;
    picture = props.picture;
    regions = picture.regions.map((region) => ({number: region.number, box: [...region.box]}));
    nextNumber = Math.max(0, ...regions.map((region) => region.number)) + 1;
    past = []; future = []; selected = null;
    image.src = picture.url;
    image.alt = `The picture ${picture.name}`;
    frame.style.setProperty('--ratio', picture.width / picture.height);
    frame.hidden = false;
    $('.drop').hidden = true;
    $('.confirm').hidden = true;
    $('.veil').hidden = true;
    say('');
    cameraOff();
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
    const fresh = props.found.regions.filter((region) => !find(region.number));
    if (fresh.length) {
      remember();
      regions.push(...fresh.map((region) => ({...region, box: [...region.box]})));
      nextNumber = Math.max(nextNumber, ...fresh.map((region) => region.number + 1));
      commit();
    }
  }
  nextNumber = Math.max(nextNumber, (props.asked || 0) + 1);
}

// Not a list of quoted names: Gradio takes every quoted word of this file for the name of an event.
watch(Object.keys(props), receive);
receive();
render();
