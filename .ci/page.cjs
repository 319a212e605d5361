// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0
//
// Walks the web page of a running engine in Chromium, as a person on call does: node page.cjs BASE TOKEN SCRIPT FIXED PICTURES
// SCRIPT is the file of the mapping that fails, FIXED what has to stand there. Prints what is wrong, and "walked" at the end.
const { chromium } = require('playwright-core');
const fs = require('node:fs');
const [base, token, script, fixed, pictures] = process.argv.slice(2);

let step = 'start';
const wrong = (text) => { console.log(`${step}: ${text}`); process.exitCode = 1; };
const check = (holds, text) => { if (!holds) wrong(text); };

// watch notes what a browser complains of: nothing may be refused by the policy, come from elsewhere, or fail.
function watch(page, allowed = []) {
  page.on('console', (m) => {
    if (['error', 'warning'].includes(m.type()) && !allowed.some((a) => m.text().includes(a))) wrong(`the console says: ${m.text()}`);
  });
  page.on('pageerror', (e) => wrong(`a script failed: ${e.message}`));
  page.on('request', (r) => check(r.url().startsWith(base + '/') || r.url().startsWith('data:'), `${r.url()} is asked for`));
  page.on('dialog', (d) => { wrong(`a dialog opens: ${d.message()}`); d.dismiss(); });
}

// to does what leads to another page, and waits for that.
const to = (page, go) => Promise.all([page.waitForNavigation(), go]);

async function login(context, allowed) {
  const page = await context.newPage();
  watch(page, allowed);
  await page.goto(base);
  await page.fill('[name=token]', token);
  await to(page, page.keyboard.press('Enter'));
  check(page.url() === base + '/', `the login leads to ${page.url()}`);
  return page;
}

(async () => {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  const picture = (page, name) => page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true });

  step = 'login';
  const desk = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: 'light' });
  let page = await desk.newPage();
  watch(page, ['401']);
  await page.goto(base + '/dead');
  await picture(page, 'login');
  await page.fill('[name=token]', 'not-the-token-of-this-engine');
  await to(page, page.keyboard.press('Enter'));
  check(await page.locator('[role=alert]').isVisible(), 'a wrong token is not told');
  await page.fill('[name=token]', token);
  await to(page, page.keyboard.press('Enter'));
  check(page.url() === base + '/dead', `the login leads to ${page.url()}`);
  await page.close();

  step = 'overview';
  page = await desk.newPage();
  watch(page);
  await page.goto(base + '/');
  check((await page.locator('.verdict').innerText()).includes('dead letter'), 'dead letters are not told');
  await page.focus('#p-appointments');
  const time = await page.locator('#live .head .hint').innerText();
  await page.waitForFunction((was) => document.querySelector('#live .head .hint').innerText !== was, time, { timeout: 30000 });
  check(await page.evaluate(() => document.activeElement.id) === 'p-appointments', 'a refresh takes the focus away');
  await page.evaluate(() => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => true }); });
  let refreshed = 0;
  page.on('request', () => { refreshed++; });
  await page.waitForTimeout(11000);
  check(refreshed === 0, `it is refreshed ${refreshed} times while nobody sees it`);
  await page.evaluate(() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')); });
  await page.waitForTimeout(500);
  check(refreshed > 0, 'it is not fresh when it is seen again');
  await picture(page, 'overview');
  const cut = await desk.newPage(); // its errors are meant
  await cut.goto(base + '/');
  check(await cut.locator('[data-stale]').isHidden(), 'what is fresh is called stale');
  await cut.route('**/*', (route) => route.abort());
  await cut.evaluate(() => document.dispatchEvent(new Event('rounds:seen')));
  await cut.locator('[data-stale]').waitFor({ state: 'visible', timeout: 5000 });
  await cut.close();

  step = 'playground';
  await to(page, page.click('nav >> text=Dead letters'));
  await picture(page, 'dead-letters');
  const dead = await page.locator('tbody tr').count();
  await to(page, page.click('tbody a'));
  await picture(page, 'dead-letter');
  await to(page, page.click('text=Try the mapping on it'));
  check(await page.locator('#result .badge').innerText() === 'failed', 'what fails is not told');
  await page.click('[data-line]');
  const marked = await page.evaluate(() => { const a = document.getElementById('script'); return a.value.slice(a.selectionStart, a.selectionEnd); });
  check(marked.includes('cancelReasen'), `the line that failed is not marked, but ${JSON.stringify(marked)}`);
  await picture(page, 'playground-failed');
  await page.fill('#script', fixed);
  await page.press('#script', 'Control+Enter');
  await page.waitForSelector('#result .badge.good');
  check((await page.locator('#result pre').innerText()).includes('PATIENT'), 'the result is not that of the script as it was edited');
  check(fs.readFileSync(script, 'utf8') !== fixed, 'the playground saved the script');
  await picture(page, 'playground-mapped');

  step = 'editor';
  await page.fill('#script', 'one\ntwo');
  await page.focus('#script');
  await page.evaluate(() => document.getElementById('script').setSelectionRange(4, 4));
  await page.keyboard.press('Tab');
  check(await page.inputValue('#script') === 'one\n  two', 'Tab does not indent');
  await page.keyboard.press('Shift+Tab');
  check(await page.inputValue('#script') === 'one\ntwo', 'Shift+Tab does not take it back');
  check((await page.locator('.editor pre').innerText()).trim().split(/\s+/).join() === '1,2', 'lines are not numbered');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Tab');
  check(await page.evaluate(() => document.activeElement.id) === 'record', 'Escape, Tab does not leave the editor');

  step = 'deploy';
  fs.writeFileSync(script, fixed);
  await to(page, page.click('nav >> text=Overview'));
  await to(page, page.click('text=Read the configuration again'));
  check((await page.locator('.flash[role=status]').innerText()).includes('restarted pipeline.appointments'), 'the reload is not told');
  await to(page, page.click('nav >> text=Dead letters'));
  await page.check('text=Take all that the filter chooses');
  await to(page, page.click('button[value=retry]'));
  check((await page.locator('h1').innerText()).includes(`Retry ${dead} dead letters?`), 'it is not asked whether that is meant');
  await picture(page, 'sure');
  await to(page, page.click('main button.main'));
  check((await page.locator('h1').innerText()) === `${dead} retried`, `not all were retried: ${await page.locator('h1').innerText()}`);
  await picture(page, 'retried');
  await to(page, page.click('text=Back to the dead letters'));
  check(await page.locator('.empty').isVisible(), 'dead letters are left');

  step = 'trace';
  await to(page, page.click('nav >> text=Notifications'));
  await picture(page, 'notifications');
  await to(page, page.click('tbody a'));
  check(await page.locator('.sides .json').count() === 2, 'there is no before and after');
  check((await page.title()).includes('Notification'), `the content of a record is at work: ${await page.title()}`);
  await picture(page, 'notification');
  const id = (await page.locator('h1').innerText()).split(' ')[1];
  await to(page, page.click('nav >> text=Records'));
  await page.fill('[name=record]', id);
  await to(page, page.keyboard.press('Enter'));
  check(!page.url().includes(id), 'the identifier of a record is in the address');
  check((await page.locator('.way').first().innerText()).includes('delivered'), 'the trace does not tell of the delivery');
  await picture(page, 'trace');

  step = 'pause';
  await page.goto(base + '/destinations/webhook.scheduling');
  await page.fill('[name=why]', 'maintenance');
  await to(page, page.click('button >> text=Pause'));
  check((await page.locator('main').innerText()).includes('maintenance'), 'the reason is not told');
  await picture(page, 'paused');
  await to(page, page.click('button >> text=Resume'));
  await page.goto(base + '/pipelines/appointments');
  await to(page, page.click('text=Poll now'));
  check((await page.locator('.flash[role=status]').innerText()).startsWith('Polled'), 'what came of the poll is not told');
  await picture(page, 'pipeline');

  step = 'keyboard';
  const keys = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  page = await login(keys);
  await page.keyboard.press('Tab');
  check((await page.evaluate(() => document.activeElement.innerText)).startsWith('Skip'), 'there is no way past the navigation');
  let reached = false;
  for (let i = 0; i < 12 && !reached; i++) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => ({ text: document.activeElement.innerText, outline: getComputedStyle(document.activeElement).outlineStyle }));
    check(at.outline !== 'none', `the focus on ${at.text} is not seen`);
    reached = at.text === 'Notifications';
  }
  await to(page, page.keyboard.press('Enter'));
  check(page.url() === base + '/notifications', `Enter leads to ${page.url()}`);
  for (let i = 0; i < 40 && !(await page.evaluate(() => document.activeElement.matches('tbody a'))); i++) await page.keyboard.press('Tab');
  await to(page, page.keyboard.press('Enter'));
  check(await page.locator('.sides').isVisible(), 'Enter does not open the notification');

  const pages = ['/', '/dead', '/notifications', new URL(page.url()).pathname, '/records', '/playground', '/pipelines/appointments',
    '/destinations/webhook.scheduling', '/playground?notification=' + new URL(page.url()).pathname.split('/').pop()];
  for (const [name, options] of Object.entries({
    phone: { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2, colorScheme: 'light' },
    dark: { viewport: { width: 1280, height: 900 }, colorScheme: 'dark' },
  })) {
    step = name;
    page = await login(await browser.newContext(options));
    for (const path of pages) {
      await page.goto(base + path);
      const [wide, dark] = await page.evaluate(() => [
        document.documentElement.scrollWidth - innerWidth, getComputedStyle(document.body).backgroundColor.match(/\d+/g).every((c) => c < 60),
      ]);
      check(wide <= 0, `${path} is ${wide} pixels wider than the screen`);
      check(dark === (name === 'dark'), `${path} has the colours of the other scheme`);
      await picture(page, name + path.split('?')[0].replace(/\/[0-9a-f]{16,}/, '').replaceAll('/', '-') + (path.includes('?') ? '-tried' : ''));
    }
  }

  step = 'without scripts';
  page = await login(await browser.newContext({ javaScriptEnabled: false }));
  await page.goto(base + pages[8]);
  await to(page, page.click('#run'));
  check(await page.locator('#result .badge').innerText() === 'notification', 'the playground needs scripts');

  step = 'logout';
  await to(page, page.click('text=Log out'));
  await page.goto(base + '/notifications');
  check(page.url().startsWith(base + '/login'), 'the session goes on');
  await browser.close();
  console.log('walked');
})().catch((e) => { wrong(e.stack); process.exit(1); });
