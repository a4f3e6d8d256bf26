/** A button that is held: by a finger, a mouse, or Space and Enter. */

/**
 * Tell when a button is held and when it is let go.
 * @param {HTMLButtonElement} button
 * @param {() => void} begin
 * @param {() => void} end
 */
export function onHold(button, begin, end) {
  let isHeld = false;
  const start = () => {
    if (isHeld) return;
    isHeld = true;
    button.classList.add("holding");
    begin();
  };
  const stop = () => {
    if (!isHeld) return;
    isHeld = false;
    button.classList.remove("holding");
    end();
  };
  button.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    button.setPointerCapture(event.pointerId);
    start();
  });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) button.addEventListener(kind, stop);
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    start();
  });
  button.addEventListener("keyup", (event) => {
    if (event.key === " " || event.key === "Enter") stop();
  });
}
