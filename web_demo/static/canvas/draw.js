// The one layer of drawing: an SVG over the picture, in pixels of the screen, so that lines and letters keep their size.

const HANDLES = ['nw', 'n', 'ne', 'e', 'se', 's', 'sw', 'w'];
const SMALL_SCREEN_PX = 44;   // smaller boxes have handles at their corners alone
const boxesLayer = shape('g', {});
layer.append(boxesLayer);
let lit = null;               // the region that the pointer is over, here, in the list or in the conversation

const colour = (number) => props.palette[(number - 1) % props.palette.length];
const perPicturePixel = () => (picture && frame.clientWidth ? frame.getBoundingClientRect().width / picture.width : 1);

function shape(name, attributes, text) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function set(node, attributes) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
}

function rectangle(box) {
  const k = perPicturePixel();
  return {x: box[0] * k, y: box[1] * k, width: (box[2] - box[0]) * k, height: (box[3] - box[1]) * k};
}

// Where something so wide begins, so that it does not stick out of the picture on the right.
const inFrame = (x, width) => Math.max(0, Math.min(x - 1, frame.clientWidth - width));

// Nodes are kept by number, so that the focus and a drag in progress survive.
function keyed(parent, shown, make, update) {
  const old = new Map([...parent.children].filter((node) => node.dataset.number).map((node) => [Number(node.dataset.number), node]));
  for (const region of shown) {
    const node = old.get(region.number) || make(region);
    old.delete(region.number);
    if (node.parentElement !== parent) parent.append(node);
    update(node, region);
  }
  old.forEach((node) => node.remove());
}

function render() {
  keyed(boxesLayer, regions.filter((region) => !region.hidden), makeBox, drawBox);
  drawRows();
  offerQuestions();
  drawCandidates();
  $('[data-act=add]').disabled = !picture;
  $('[data-act=undo]').disabled = !past.length;
  $('[data-act=redo]').disabled = !future.length;
  $('[data-act=delete]').disabled = selected === null;
  element.classList.toggle('has-picture', !!picture);
  element.classList.toggle('has-regions', regions.length > 0);
}

function makeBox(region) {
  const node = shape('g', {class: 'region', tabindex: 0, 'data-number': region.number, role: 'button'});
  node.style.setProperty('--region', colour(region.number));
  node.append(shape('rect', {class: 'halo'}), shape('rect', {class: 'edge'}), shape('rect', {class: 'border'}));
  for (const name of HANDLES) node.append(shape('circle', {class: 'grip', 'data-handle': name}), shape('circle', {class: 'knob', r: 5}));
  node.append(shape('rect', {class: 'tag'}), shape('text', {class: 'tag-text'}));
  node.addEventListener('focus', () => { if (selected !== region.number) select(region.number); });
  return node;
}

function drawBox(node, region) {
  const at = rectangle(region.box), name = nameOf(region);
  node.classList.toggle('selected', region.number === selected);
  node.classList.toggle('found', region.score !== undefined);
  node.classList.toggle('locked', !!region.locked);
  node.classList.toggle('lit', region.number === lit);
  set(node, {
    'aria-pressed': region.number === selected,
    'aria-label': `Region ${region.number}${name ? `, ${name}` : ''}. Arrows move it, with Shift they resize it; Delete removes it; Enter puts it into the question.`,
  });
  for (const rect of node.querySelectorAll('.halo, .edge, .border')) set(rect, at);
  const corners = Math.min(at.width, at.height) < SMALL_SCREEN_PX;
  for (const grip of node.querySelectorAll('.grip')) {
    const side = grip.dataset.handle;
    const cx = at.x + at.width * (side.includes('w') ? 0 : side.includes('e') ? 1 : 0.5);
    const cy = at.y + at.height * (side.includes('n') ? 0 : side.includes('s') ? 1 : 0.5);
    for (const circle of [grip, grip.nextSibling]) {
      set(circle, {cx, cy});
      circle.style.display = corners && side.length === 1 ? 'none' : '';
    }
  }
  const text = node.querySelector('.tag-text');
  text.textContent = [region.number, name, region.score?.toFixed(2)].filter(Boolean).join(' ');
  const width = Math.max(22, text.getComputedTextLength() + 14), left = inFrame(at.x, width);
  set(text, {x: left + 7, y: at.y + 15});
  set(node.querySelector('.tag'), {x: left, y: at.y - 1, width, height: 22});
}

// The same region in the picture, in the list and in the conversation lights up together.
function light(number) {
  if (lit === number) return;
  lit = number;
  for (const node of document.querySelectorAll('#canvas [data-number], .mention')) {
    node.classList.toggle('lit', number !== null && Number(node.dataset.number) === number);
  }
}

const numberAt = (target) => {
  const node = target.closest?.('#canvas [data-number], .mention');
  return node ? Number(node.dataset.number) : null;
};
document.addEventListener('pointerover', (event) => { if (!frame.contains(event.target)) light(numberAt(event.target)); });
function follow(event) {
  const mention = event.target.closest?.('.mention');
  if (!mention || (event.key && event.key !== 'Enter')) return;
  const region = regionOf(Number(mention.dataset.number));
  if (!region) return say(`Region ${mention.dataset.number} is not there any more.`);
  if (region.hidden) toggle(region.number, 'hidden');
  select(region.number, true);
}
document.addEventListener('click', follow);
document.addEventListener('keydown', follow);
new ResizeObserver(() => { if (picture) render(); }).observe(frame);
