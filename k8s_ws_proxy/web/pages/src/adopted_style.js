/**
 * Stands where xterm.js makes a `<style>` of its own, which the page's Content-Security-Policy forbids as it forbids those
 * of anybody else: the text becomes a style sheet of the document (CSSOM, constructed style sheets). build.mjs puts it
 * there.
 *
 * @returns {HTMLElement}
 */
export function adoptedStyle() {
  const element = document.createElement('span');
  const sheet = new CSSStyleSheet();
  element.hidden = true;
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  Object.defineProperty(element, 'textContent', { set: (text) => sheet.replaceSync(text) });
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet);
    HTMLElement.prototype.remove.call(element);
  };
  return element;
}
