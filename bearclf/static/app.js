(() => {
  const maxFile = MAX_BYTES, $ = s => document.querySelector('.bc-app ' + s);
  let input = null, sent = Promise.resolve();
  function hiddenInput(button) { // of the FileUpload
    const click = HTMLInputElement.prototype.click;
    HTMLInputElement.prototype.click = function () { input = this };
    try { button.click() } finally { HTMLInputElement.prototype.click = click }
    input?.addEventListener('change', checked, true);
  }
  const small = new WeakSet(); // lists that have been checked
  function checked(event) {
    if (small.has(input.files)) return;
    event.stopImmediatePropagation();
    send([...input.files]);
  }
  const refused = (file, why) => new File([], file.name, {type: 'refused/' + why});
  async function fit(file) {
    if (file.size > maxFile) return refused(file, 'large');
    return file.slice(0, 1).arrayBuffer().then(() => file, () => refused(file, 'unreadable')); // a folder, or gone
  }
  // in messages of up to maxFile bytes, the last one first since the newest cards stand above
  async function send(files) {
    const messages = [[]];
    let size = 0;
    for (const file of await Promise.all(files.map(fit))) {
      if ((size += file.size) > maxFile) { messages.push([]); size = file.size }
      messages.at(-1).push(file);
    }
    for (const message of messages.reverse()) sent = sent.then(() => sendOne(message));
  }
  const taken = () => $('.bc-live p')?.dataset.taken;
  async function until(ready) { while (!ready()) await new Promise(done => setTimeout(done, 50)) }
  // one at a time: ipywidgets drops a value that has not left yet when the next one comes
  async function sendOne(files) {
    await until(() => input && taken());
    const list = new DataTransfer(), before = taken();
    for (const file of files) list.items.add(file);
    $('.bc-live p').textContent = 'Sending…';
    input.files = list.files;
    small.add(input.files);
    input.dispatchEvent(new Event('change'));
    await until(() => taken() !== before);
  }
  const dragged = { // for the whole page: JupyterLab's frame would keep some of it
    dragover: e => { $('.bc-drop')?.classList.add('bc-over') },
    dragleave: e => { if (!e.relatedTarget) $('.bc-drop')?.classList.remove('bc-over') },
    drop: e => {
      $('.bc-drop')?.classList.remove('bc-over');
      if (e.dataTransfer.files.length) send([...e.dataTransfer.files]);
    }};
  for (const event in dragged) document.addEventListener(event, e => { e.preventDefault(); dragged[event](e) }, true);
  // a page that was long asleep has lost its process
  const config = document.getElementById('jupyter-config-data'), lost = document.createElement('p');
  lost.className = 'bc-lost';
  lost.setAttribute('role', 'alert');
  async function alive() {
    const {baseUrl, kernelId} = JSON.parse(config.textContent);
    const ok = await fetch(baseUrl + 'api/kernels/' + kernelId).then(r => r.ok, () => false);
    lost.innerHTML = ok ? ''
      : 'This page has lost its connection. What it shows stays; <a href="">load it again</a> to go on.';
  }
  for (const event of config ? ['visibilitychange', 'click', 'drop'] : [])
    document.addEventListener(event, () => document.hidden || alive());
  addEventListener('pageshow', e => { if (e.persisted) location.reload() }); // come back to by the browser's button
  document.addEventListener('click', e => { // where in the picture?
    const button = e.target.closest?.('[data-where]'), card = button?.closest('.bc-card');
    if (!card) return;
    card.dataset.shown = button.getAttribute('aria-pressed') === 'true' ? '' : button.dataset.where;
    tidy();
  });
  function set(element, attributes) { // what is set without need would wake the observer again
    for (const k in attributes)
      if (element && element.getAttribute(k) !== attributes[k]) element.setAttribute(k, attributes[k]);
  }
  let newest = null;
  function tidy() {
    const button = $('.widget-upload'), app = document.querySelector('.bc-app');
    if (button && !input) hiddenInput(button);
    if (app && !lost.isConnected) app.append(lost);
    set(button, {'aria-label': 'Choose pictures'});
    set($('.bc-live'), {role: 'status', 'aria-live': 'polite'});
    set($('.bc-cards'), {role: 'region', 'aria-label': 'Answers'});
    const words = $('.bc-sure .widget-readout');
    set(words, {tabindex: '-1'});
    set($('.noUi-handle'), {'aria-label': 'How sure must it be?', 'aria-valuetext': words ? words.textContent : ''});
    document.querySelectorAll('.bc-card').forEach(card => {
      const button = card.querySelector(`[data-where="${CSS.escape(card.dataset.shown || '')}"]`);
      const shown = button ? card.dataset.shown : '';
      card.querySelectorAll('[data-where]').forEach(b => set(b, {'aria-pressed': String(b.dataset.where === shown)}));
      for (const map of card.querySelectorAll('[data-map]'))
        if (map.hidden !== (map.dataset.map !== shown)) map.hidden = map.dataset.map !== shown;
    });
    const card = $('.bc-card');
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (card && card !== newest && card.getBoundingClientRect().top > innerHeight/2)
      $('.bc-answers').scrollIntoView({behavior: still ? 'auto' : 'smooth'});
    newest = card;
  }
  let due = 0;
  const soon = () => { due ||= requestAnimationFrame(() => { due = 0; tidy() }) };
  new MutationObserver(soon).observe(document.documentElement, {childList: true, subtree: true, characterData: true});
})();
