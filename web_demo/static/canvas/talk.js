// The way to the question field: a region put into it, and questions to pick.

const questionField = () => document.querySelector('#question textarea');

function insert(number) {
  const box = questionField();
  const [from, to] = [box.selectionStart ?? box.value.length, box.selectionEnd ?? box.value.length];
  const before = box.value.slice(0, from), after = box.value.slice(to);
  const text = `${before && !/\s$/.test(before) ? ' ' : ''}region ${number}${/^[\s?.,!;:)]/.test(after) ? '' : ' '}`;
  box.value = before + text + after;
  box.dispatchEvent(new Event('input', {bubbles: true}));
  box.focus();
  box.setSelectionRange(from + text.length, from + text.length);
}

// Only kinds of questions that the model was built to answer.
function questionsAbout(region) {
  const questions = ['What is this?', 'What color is it?', 'Where is it?', 'Describe it.'];
  const many = (props.said || {})[region.number]?.plural || region.plural;
  if (many) questions.push(`How many ${many} are there?`);
  const other = regions.filter((one) => one !== region).at(-1);
  if (other) questions.push(`Is region ${region.number} larger than region ${other.number}?`);
  return [...questions, 'What does it say?'];
}

let offeredFor = '';
function offerQuestions() {
  const strip = document.querySelector('#suggest .strip'), region = regionOf(selected);
  if (!strip) return;
  const questions = region ? questionsAbout(region) : [];
  if (offeredFor === questions.join()) return;
  offeredFor = questions.join();
  strip.replaceChildren(...questions.map((question) => {
    const button = document.createElement('button');
    Object.assign(button, {type: 'button', textContent: question});
    button.addEventListener('click', () => trigger('ask', {text: question}));
    return button;
  }));
  strip.scrollLeft = 0;
}

// After a box has been drawn the focus is in the question field. As long as that is empty, undo means the box.
document.addEventListener('keydown', (event) => {
  const box = questionField(), key = event.key.toLowerCase();
  if (!picture || event.target !== box || box.value || !(event.ctrlKey || event.metaKey) || !['z', 'y'].includes(key)) return;
  event.preventDefault();
  if (key === 'z' && !event.shiftKey) restore(past, future); else restore(future, past);
});
