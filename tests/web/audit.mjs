/** Looks at a view of the page as a person with other eyes would: light and dark, narrow, and read out. */

import path from "node:path";
import axe from "../../build/node/node_modules/axe-core/axe.js";

/**
 * Note what is wrong with a view: `serious` findings of axe, and how `wide` the page gets; keep a picture of it.
 * @param {import("playwright-core").Page} page
 * @param {string} view its name
 * @param {{serious: string[], wide: Record<string, number>}} seen
 * @param {string} out a folder
 */
export async function audit(page, view, seen, out) {
  await page.evaluate(axe.source);
  for (const colorScheme of ["light", "dark"]) {
    // Without motion: a colour on its way from light to dark is neither.
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    for (const { id, impact, nodes } of violations)
      if (["serious", "critical"].includes(impact))
        seen.serious.push(
          `${view}, ${colorScheme}: ${id} at ${nodes.map(({ target }) => target.join(" ")).join(", ")}`,
        );
    await page.screenshot({ path: path.join(out, `${view}-${colorScheme}.png`) });
  }
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "no-preference" });
  seen.wide[view] = await page.evaluate(() => document.documentElement.scrollWidth);
}
