// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0
//
// What the page does beyond HTML and htmx. Without it everything works but for the comfort of the editor.
(() => {
  'use strict';

  // What refreshes itself rests while nobody sees it, and is fresh when it is seen again.
  document.addEventListener('htmx:beforeRequest', (event) => {
    if (document.hidden && event.detail.elt.hasAttribute('data-live')) event.preventDefault();
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) document.dispatchEvent(new Event('rounds:seen'));
  });

  // What can't be refreshed says so: it would look as if all were well.
  for (const failed of ['htmx:sendError', 'htmx:responseError', 'htmx:timeout']) {
    document.addEventListener(failed, (event) => {
      event.detail.elt.querySelectorAll('[data-stale]').forEach((text) => { text.hidden = false; });
    });
  }

  // On a narrow screen the sections scroll: show the one that this is.
  document.querySelector('nav [aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' });

  // Mark all that is shown.
  document.addEventListener('change', (event) => {
    if (!event.target.matches('[data-all]')) return;
    for (const box of event.target.form.querySelectorAll('input[name=id]')) box.checked = event.target.checked;
  });

  // The editor: line numbers, indentation by Tab (after Escape, Tab moves on as everywhere), Ctrl+Enter tries.
  const indent = '  ';
  for (const area of document.querySelectorAll('[data-editor]')) {
    const numbers = document.createElement('pre');
    numbers.setAttribute('aria-hidden', 'true');
    const count = () => {
      const lines = area.value.split('\n').length;
      numbers.textContent = Array.from({ length: lines }, (_, i) => i + 1).join('\n') + '\n ';
    };
    const scroll = () => { numbers.scrollTop = area.scrollTop; };
    area.before(numbers);
    area.addEventListener('input', count);
    area.addEventListener('scroll', scroll);
    new ResizeObserver(() => { numbers.style.height = area.offsetHeight + 'px'; scroll(); }).observe(area);
    count();
    let leaving = false;
    area.addEventListener('blur', () => { leaving = false; });
    area.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') { leaving = true; return; }
      if (event.key !== 'Tab' || leaving || event.ctrlKey || event.altKey || event.metaKey) {
        if (event.key !== 'Tab' && event.key !== 'Shift') leaving = false;
        return;
      }
      event.preventDefault();
      const { selectionStart: from, selectionEnd: to, value } = area;
      const start = value.lastIndexOf('\n', from - 1) + 1;
      if (!event.shiftKey && from === to) {
        area.setRangeText(indent, from, to, 'end');
      } else { // the lines that are selected
        const lines = value.slice(start, to).split('\n');
        const moved = lines.map((line) => event.shiftKey ? line.replace(/^ {1,2}|^\t/, '') : indent + line).join('\n');
        area.setRangeText(moved, start, to, from === to ? 'end' : 'select');
      }
      area.dispatchEvent(new Event('input'));
    });
  }
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || !event.target.matches('textarea.code')) return;
    event.preventDefault();
    event.target.form.requestSubmit();
  });

  // From the line that failed to its place in the editor.
  document.addEventListener('click', (event) => {
    const button = event.target.closest('[data-line]');
    const area = document.getElementById('script');
    if (!button || !area) return;
    const lines = area.value.split('\n');
    const line = Number(button.dataset.line) - 1;
    const start = lines.slice(0, line).join('\n').length + (line > 0 ? 1 : 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[line] || '').length);
    area.scrollTop = Math.max(0, (line - 8) * 19);
  });
})();
