// Pictures: opened, dropped, pasted, taken.

const fileInput = $('input[type=file]'), video = $('video');
const MAX_BYTES = 64 * 1024 * 1024;
let stream = null;

async function send(file) {
  if (!file) return;
  if (file.size > MAX_BYTES) return say(`'${file.name}' has ${Math.round(file.size / 1048576)} MB; the limit is ${MAX_BYTES / 1048576} MB. Shrink it and open it again.`);
  say('');
  $('.veil').hidden = false;
  try {
    const {path} = await upload(file);
    trigger('upload', {path, name: file.name || 'picture.png'});
  } catch (error) {
    $('.veil').hidden = true;
    say(`'${file.name}' could not be sent (${error.message || error}); try again.`);
  }
}

const pictureOf = (transfer) => [...(transfer?.files || [])][0];

async function paste() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((name) => name.startsWith('image/'));
      if (type) return send(new File([await item.getType(type)], `pasted.${type.split('/')[1]}`, {type}));
    }
    say('There is no picture on the clipboard. Copy one first.');
  } catch {
    say('The browser does not let this button read the clipboard. Press Ctrl+V (⌘V) instead.');
  }
}

async function cameraOn() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: 'environment'}});
    video.srcObject = stream;
    await video.play();
    $('.camera').hidden = false;
    say('');
    $('[data-act=shoot]').focus();
  } catch (error) {
    cameraOff();
    say(`The camera could not be opened (${error.name || 'not available on this page'}). Allow it in the browser, or open a photo instead.`);
  }
}

function cameraOff() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $('.camera').hidden = true;
}

function shoot() {
  const still = document.createElement('canvas');
  still.width = video.videoWidth;
  still.height = video.videoHeight;
  still.getContext('2d').drawImage(video, 0, 0);
  cameraOff();
  still.toBlob((blob) => send(new File([blob], 'camera.png', {type: 'image/png'})), 'image/png');
}

fileInput.addEventListener('change', () => { send(fileInput.files[0]); fileInput.value = ''; });
document.addEventListener('paste', (event) => {
  const file = pictureOf(event.clipboardData);
  if (file) { event.preventDefault(); send(file); }
});
for (const name of ['dragover', 'dragenter']) stage.addEventListener(name, (event) => { event.preventDefault(); stage.classList.add('over'); });
for (const name of ['dragleave', 'drop']) stage.addEventListener(name, () => stage.classList.remove('over'));
stage.addEventListener('drop', (event) => {
  event.preventDefault();
  const file = pictureOf(event.dataTransfer);
  if (file) send(file); else say('That was not a file. Save the picture first, then open it.');
});
