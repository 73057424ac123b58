// The conversation: copy, regenerate, suggested questions, and a view that follows the answer unless the reader has scrolled up.
const log = element.querySelector('.log');
// In a narrow window the page scrolls and not the conversation.
const scroller = () => (log.scrollHeight > log.clientHeight + 1 ? log : document.scrollingElement);
let following = true;
const look = () => { const {scrollHeight, scrollTop, clientHeight} = scroller(); following = scrollHeight - scrollTop - clientHeight < 60; };
log.addEventListener('scroll', look);
window.addEventListener('scroll', look);
watch('value', () => {
  const begins = log.querySelector('[aria-busy]:last-child .waiting');
  if (log.querySelector('.message') && (following || begins)) scroller().scrollTop = scroller().scrollHeight;
});

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard on a page that is served over plain http from another machine.
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

element.addEventListener('click', async (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.act === 'copy') {
    await copyText(button.dataset.text);
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  } else if (button.dataset.act === 'regenerate') trigger('regenerate');
  else if (button.dataset.question) trigger('ask', {text: button.dataset.question});
});
