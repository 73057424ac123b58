// The list of regions: rename, hide, lock, delete, and put one into the question.

const rows = $('.rows');
const ICONS = {
  hide: '<path d="M2.500 10S5.500 5 10 5s7.500 5 7.500 5-3 5-7.500 5-7.500-5-7.500-5z"/><circle cx="10" cy="10" r="2.300"/><path class="off" d="M4 16L16 4"/>',
  lock: '<path d="M5 9.500h10v7H5z"/><path class="shut" d="M7 9.500V7a3 3 0 016 0v2.500"/><path class="open" d="M7 9.500V6a3 3 0 015.800-1"/>',
  remove: '<path d="M5 5l10 10M15 5L5 15"/>',
};
const icon = (name) => `<svg viewBox="0 0 20 20" aria-hidden="true">${ICONS[name]}</svg>`;

function drawRows() {
  keyed(rows, regions, makeRow, (node, region) => {
    node.classList.toggle('selected', region.number === selected);
    node.classList.toggle('lit', region.number === lit);
    const name = node.querySelector('.name'), said = nameOf(region);
    if (name) name.textContent = said || 'Name it';
    name?.classList.toggle('unnamed', !region.label);
    for (const [what, on] of [['hide', region.hidden], ['lock', region.locked]]) {
      node.querySelector(`[data-do=${what}]`).setAttribute('aria-pressed', !!on);
    }
  });
}

function makeRow(region) {
  const node = document.createElement('div'), number = Number(region.number);
  node.className = 'row';
  node.dataset.number = number;
  node.style.setProperty('--region', colour(number));
  node.innerHTML = `<button type="button" class="insert" title="Put region ${number} into the question" aria-label="Put region ${number} into the question">${number}</button>`
    + `<button type="button" class="name" title="Say what it is" aria-label="Say what region ${number} is"></button>`
    + `<button type="button" data-do="hide" title="Hide or show" aria-label="Hide region ${number}">${icon('hide')}</button>`
    + `<button type="button" data-do="lock" title="Lock or unlock" aria-label="Lock region ${number}">${icon('lock')}</button>`
    + `<button type="button" class="remove" title="Delete" aria-label="Delete region ${number}">${icon('remove')}</button>`;
  return node;
}

function startRename(number) {
  const name = rows.querySelector(`[data-number="${number}"] .name`), region = regionOf(number);
  if (!name) return;
  const field = document.createElement('input');
  Object.assign(field, {className: 'rename', value: nameOf(region), placeholder: 'for example: dog', maxLength: 60});
  field.setAttribute('aria-label', `What region ${number} is`);
  let done = false;
  const end = (keep) => {
    if (done) return;
    done = true;
    field.replaceWith(name);
    if (keep && field.value.trim() !== nameOf(region)) rename(number, field.value.trim());
    else render();
  };
  field.addEventListener('blur', () => end(true));
  field.addEventListener('keydown', (event) => {
    event.stopPropagation();
    if (event.key === 'Enter') end(true);
    else if (event.key === 'Escape') end(false);
    else return;
    // Otherwise the key would also press the button that gets the focus.
    event.preventDefault();
    name.focus();
  });
  name.replaceWith(field);
  field.select();
}

rows.addEventListener('click', (event) => {
  const row = event.target.closest('.row');
  if (!row || event.target.closest('.rename')) return;
  const number = Number(row.dataset.number), button = event.target.closest('button');
  if (button?.matches('.remove')) remove(number);
  else if (button?.dataset.do) toggle(number, button.dataset.do === 'hide' ? 'hidden' : 'locked');
  else {
    // The first click on a name selects, as anywhere in the row: on a phone it is most of the row.
    const again = selected === number;
    if (!regionOf(number).hidden) select(number);
    if (!button?.matches('.name')) { if (button) insert(number); } else if (again || regionOf(number).hidden) startRename(number);
  }
});
