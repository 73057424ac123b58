// The canvas: numbered boxes on a picture. The files of this folder are joined in the order that app.py gives and run once, as one function,
// when Gradio has put canvas.html on the page; gr.HTML hands in `element`, `props`, `trigger`, `upload` and `watch`.
//
// Boxes are kept in pixels of the original picture as floats and are only drawn in pixels of the screen. So no box changes when the window
// does, and none is rounded to the pixels of a shrunk display.
//
// props.value    {regions: [{number, box: [x0, y0, x1, y1], label}], selected: number or null}: ours, sent along with every question
// props.picture  {serial, url, width, height, name, regions}: Python's; a new serial is a new picture, with the boxes it comes with
// props.note     {serial, text}: a mistake to show under the picture
// props.warning  {serial, text}: a question to the user: does the waiting picture start a new conversation?
// props.found    {serial, regions: [{number, box, label, plural, score}]}: what the model found, to be drawn beside the user's own
// props.candidates {serial, text, start, regions: [{key, box, label, score}]}: what a search found, to be taken or rejected
// props.said     {number: {name, plural}}: what answers called the regions
// props.asked    the highest region number that a question has been asked with

const $ = (selector) => element.querySelector(selector);
const stage = $('.stage'), frame = $('.frame'), image = $('.frame img'), layer = $('.regions');
const MIN_SCREEN_PX = 5;      // a smaller drag is a click

let picture = null, regions = [], selected = null, nextNumber = 1, past = [], future = [];

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const round = (value) => Math.round(value * 100) / 100;
const copy = () => regions.map((region) => ({...region, box: [...region.box]}));
const regionOf = (number) => regions.find((region) => region.number === number);
const nameOf = (region) => region.label || (props.said || {})[region.number]?.name || '';

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
  if (!regionOf(selected)) selected = null;
  commit();
}

function commit() {
  share();
  render();
}

function share() {
  props.value = {regions: regions.map(({number, box, label}) => ({number, box: [...box], label})), selected};
}

function say(text) { $('.note').textContent = text || ''; }

function select(number, focus) {
  if (selected !== number) { selected = number; share(); }
  render();
  if (focus && number !== null) layer.querySelector(`[data-number="${number}"]`)?.focus({preventScroll: true});
}

function add(box) {
  remember();
  const number = nextNumber++;
  regions.push({number, box});
  selected = number;
  commit();
  return number;
}

// What a model said about a place is not true of another place; what a person said is.
function leave(region, box) {
  region.box = box;
  delete region.score;
  if (!region.named) delete region.label;
}

function remove(number) {
  const region = regionOf(number);
  if (!region) return;
  if (region.locked) return say(`Region ${number} is locked. Unlock it in the list first.`);
  remember();
  regions = regions.filter((other) => other !== region);
  if (selected === number) selected = null;
  commit();
  stage.focus({preventScroll: true});
}

function rename(number, label) {
  const region = regionOf(number);
  if (!region || label === (region.label || '')) return;
  remember();
  Object.assign(region, {label, named: true});
  delete region.score;
  commit();
}

// Hiding and locking are ways of looking, not changes of a region: undo passes over them.
function toggle(number, what) {
  const region = regionOf(number);
  if (!region) return;
  region[what] = !region[what];
  if (region.hidden && selected === number) selected = null;
  commit();
}
