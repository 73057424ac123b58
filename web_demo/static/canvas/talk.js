// The way to the question field.

function insert(number) {
  const box = document.querySelector('#question textarea');
  if (!box) return;
  const [from, to] = [box.selectionStart ?? box.value.length, box.selectionEnd ?? box.value.length];
  const before = box.value.slice(0, from), after = box.value.slice(to);
  const text = `${before && !/\s$/.test(before) ? ' ' : ''}region ${number}${/^[\s?.,!;:)]/.test(after) ? '' : ' '}`;
  box.value = before + text + after;
  box.dispatchEvent(new Event('input', {bubbles: true}));
  box.focus();
  box.setSelectionRange(from + text.length, from + text.length);
}
