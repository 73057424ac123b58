// Light or dark: what the system says, until the reader says otherwise.
const wanted = localStorage.getItem('gpt4roi-theme');
if (wanted) document.body.classList.toggle('dark', wanted === 'dark');
element.addEventListener('click', (event) => {
  if (!event.target.closest('[data-act=theme]')) return;
  const dark = document.body.classList.toggle('dark');
  localStorage.setItem('gpt4roi-theme', dark ? 'dark' : 'light');
});
