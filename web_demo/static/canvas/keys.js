// The keyboard: everything that the mouse can do. `?` shows the list, which stands in canvas.html.

// Boxes of one size on a grid of places, the first that no box lies on: none ever hides another.
function freePlace() {
  const [w, h] = [picture.width, picture.height];
  for (let turn = 0; ; turn++) {
    const [x, y] = [0.3 + (turn % 8) * 0.05, 0.3 + ((turn + Math.floor(turn / 8)) % 8) * 0.05];
    const box = [w * x, h * y, w * (x + 0.3), h * (y + 0.3)].map(round);
    if (turn >= 64 || regions.every((region) => Math.abs(region.box[0] - box[0]) > w * 0.01 || Math.abs(region.box[1] - box[1]) > h * 0.01)) return box;
  }
}

function addInTheMiddle() {
  if (picture) select(add(freePlace()), true);
}

function help() {
  $('.help').showModal();
}

function nudge(region, [x, y], event) {
  if (region.locked) return say(`Region ${region.number} is locked. Unlock it in the list first.`);
  // One held key is one step of undo.
  if (!event.repeat) remember();
  const step = 4 / perPicturePixel();
  leave(region, event.shiftKey ? resized(region.box, 'se', x * step, y * step) : shifted(region.box, x * step, y * step));
  commit();
}

stage.addEventListener('keydown', (event) => {
  if (!picture || event.target.closest('.camera, .confirm')) return;
  const command = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
  if (command && key === 'z') { event.shiftKey ? restore(future, past) : restore(past, future); event.preventDefault(); return; }
  if (command && key === 'y') { restore(future, past); event.preventDefault(); return; }
  if (command || event.altKey) return;
  const region = regionOf(selected), arrow = {arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1]}[key];
  if (key === 'n') addInTheMiddle();
  else if (key === '?') help();
  else if (!region) return;
  else if (arrow) nudge(region, arrow, event);
  else if (key === 'delete' || key === 'backspace') remove(selected);
  else if (key === 'escape') { select(null); stage.focus({preventScroll: true}); }
  else if (key === 'h') toggle(selected, 'hidden');
  else if (key === 'l') toggle(selected, 'locked');
  else if (key === 'r' || key === 'f2') startRename(selected);
  else if (key === 'enter' && event.target.closest('.region')) insert(region.number);
  else return;
  event.preventDefault();
});
