// Mouse, pen and finger: draw, move and resize.

function toPicture(event) {
  const rect = frame.getBoundingClientRect();
  return [
    clamp((event.clientX - rect.left) / rect.width * picture.width, 0, picture.width),
    clamp((event.clientY - rect.top) / rect.height * picture.height, 0, picture.height),
  ];
}

const span = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])].map(round);

function shifted(box, dx, dy) {
  dx = clamp(dx, -box[0], picture.width - box[2]);
  dy = clamp(dy, -box[1], picture.height - box[3]);
  return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy].map(round);
}

function resized(box, handle, dx, dy) {
  const least = MIN_SCREEN_PX / perPicturePixel();
  const [w, h] = [Math.min(least, box[2] - box[0]), Math.min(least, box[3] - box[1])];
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
  return regions.filter(({box, hidden}) => !hidden && x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]).sort((a, b) => size(a) - size(b))[0];
}

// A box is moved by its border or its number and resized by its handles: nothing else of it takes the pointer, so elsewhere a drag draws,
// also inside a box just drawn.
function heldBy(event) {
  const node = event.target.closest('.region'), region = node && regionOf(Number(node.dataset.number));
  return region && !region.locked ? region : null;
}

frame.addEventListener('pointermove', (event) => { if (picture && !event.buttons) light(under(toPicture(event))?.number ?? null); });

frame.addEventListener('pointerdown', (event) => {
  if (event.button !== 0 || !event.isPrimary || event.target.closest('.sign')) return;
  event.preventDefault();
  say('');
  const start = toPicture(event), grabbed = heldBy(event), handle = event.target.dataset.handle;
  const before = grabbed ? {...grabbed} : null;
  let dragged = false, ghost = null;
  if (grabbed) select(grabbed.number, true); else stage.focus({preventScroll: true});
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
        ghost = shape('rect', {class: 'ghost'});
        ghost.style.setProperty('--region', colour(nextNumber));
        layer.append(ghost);
      }
    }
    if (ghost) set(ghost, rectangle(span(start, now)));
    else {
      leave(grabbed, handle ? resized(before.box, handle, dx, dy) : shifted(before.box, dx, dy));
      render();
    }
  };
  const end = (ended) => {
    if (ended.pointerId !== event.pointerId) return;
    for (const [name, listener] of [['pointermove', move], ['pointerup', end], ['pointercancel', end]]) frame.removeEventListener(name, listener);
    ghost?.remove();
    if (ended.type === 'pointercancel') {
      if (dragged && grabbed) { Object.assign(grabbed, before); past.pop(); render(); }
    } else if (dragged && grabbed) commit();
    else if (dragged) {
      const box = span(start, toPicture(ended)), least = MIN_SCREEN_PX / perPicturePixel();
      if (box[2] - box[0] < least || box[3] - box[1] < least) say('That box is too thin to see. Drag from one corner to the opposite one.');
      else {
        add(box);
        // With a finger it would bring up the keyboard, over the picture.
        if (event.pointerType !== 'touch') questionField().focus({preventScroll: true});
      }
    } else {
      const hit = under(start);
      if (hit) select(hit.number, true);
      else { select(null); if (!regions.length) say('Drag to draw a box: press in one corner and release in the opposite one.'); }
    }
  };
  for (const [name, listener] of [['pointermove', move], ['pointerup', end], ['pointercancel', end]]) frame.addEventListener(name, listener);
});
