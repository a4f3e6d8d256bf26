/** Small helps to find, make and fill elements. */

/**
 * Return the page's element of that id.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function element(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return /** @type {T} */ (found);
}

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Partial<HTMLElementTagNameMap[K]>} properties
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/**
 * Return an image of a picture in memory, which is let go once it is shown.
 * @param {Blob} picture
 * @param {string} alt
 * @returns {HTMLImageElement}
 */
export function pictureOf(picture, alt) {
  const url = URL.createObjectURL(picture);
  const image = make("img", { src: url, alt });
  image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
  return image;
}

/**
 * Save bytes as a file of the person's.
 * @param {Blob} bytes
 * @param {string} name
 */
export function save(bytes, name) {
  const url = URL.createObjectURL(bytes);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
