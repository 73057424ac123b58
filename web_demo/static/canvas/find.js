// The find field. What is found is drawn dashed until it is taken or rejected; the slider shows and hides it without looking again.

const searchForm = $('.find'), hits = $('.hits'), slider = $('.hits input'), hitsLayer = shape('g', {class: 'candidates'});
layer.append(hitsLayer);
let candidates = [];

const shownCandidates = () => candidates.filter((one) => one.score >= Number(slider.value) - 1e-6);

searchForm.addEventListener('submit', (event) => {
  event.preventDefault();
  candidates = [];
  drawCandidates();
  tellFind('Looking …');
  trigger('find', {what: $('.find input').value});
});
slider.addEventListener('input', drawCandidates);

function tellFind(text) {
  hits.hidden = !text && !candidates.length;
  $('.hits .sentence').textContent = text;
}

function showCandidates(sent) {
  candidates = sent.regions;
  slider.value = Math.floor(sent.start * 100) / 100;
  tellFind(sent.text);
  drawCandidates();
}

function decide(what, chosen) {
  const keys = chosen.map((one) => one.key);
  candidates = candidates.filter((one) => !keys.includes(one.key));
  trigger(what, {keys});
  if (!candidates.length) tellFind('');
  drawCandidates();
}

// A click on one of the two signs of a candidate, or Enter on it.
function sign(one, what, path, label) {
  const node = shape('g', {class: `sign ${what}`, tabindex: 0, role: 'button', 'aria-label': `${label}: ${one.label} ${one.score.toFixed(2)}`});
  node.append(shape('title', {}, label), shape('rect', {width: 26, height: 24}), shape('path', {d: path}));
  const act = () => decide(what === 'yes' ? 'take' : 'reject', [one]);
  node.addEventListener('click', act);
  node.addEventListener('keydown', (event) => { if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); event.stopPropagation(); act(); } });
  return node;
}

function drawCandidates() {
  const visible = picture ? shownCandidates() : [];
  const weaker = candidates.length - visible.length;
  $('.hits output').textContent = Number(slider.value).toFixed(2);
  $('.hits .count').textContent = candidates.length ? `${visible.length} found${weaker ? `, ${weaker} below the least score` : ''}` : '';
  for (const part of hits.querySelectorAll('label, [data-act=take-all], .count')) part.hidden = !candidates.length;
  $('[data-act=take-all]').disabled = !visible.length;
  hitsLayer.replaceChildren(...visible.map((one) => {
    const node = shape('g', {class: 'candidate'}), at = rectangle(one.box);
    const text = shape('text', {y: at.y + 16}, `${one.label} ${one.score.toFixed(2)}`);
    const plate = shape('rect', {class: 'plate', y: at.y - 1, height: 24});
    const yes = sign(one, 'yes', 'M7 12l4 4 8-9', 'Keep'), no = sign(one, 'no', 'M8 7l9 9M17 7l-9 9', 'Not this, and do not find it again');
    node.append(shape('rect', {class: 'halo', ...at}), shape('rect', {class: 'edge', ...at}), plate, text, yes, no);
    hitsLayer.append(node);   // The width of a text is known once it is on the page.
    const width = text.getComputedTextLength() + 12;
    const left = inFrame(at.x, width + 52);
    text.setAttribute('x', left + 6);
    set(plate, {x: left, width: width + 52});
    yes.setAttribute('transform', `translate(${left + width} ${at.y - 1})`);
    no.setAttribute('transform', `translate(${left + width + 26} ${at.y - 1})`);
    return node;
  }));
}
