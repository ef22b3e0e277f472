// What a reader would stumble over inside one element: a list of sentences.
(root) => {
  const SMALLEST_PX = 12, CONTRAST = 4.5, CONTRAST_LARGE = 3;
  // S and O on a picture are marks that grow and shrink with it; the legend says in letters of full size what they are.
  const NOT_READ = "script, style, option, title";
  const faults = new Set();
  const told = (element, text) => `${(text ?? element.textContent).trim().slice(0, 40)} <${element.tagName} ${element.getAttribute("class")}>`;

  function colour(text) {
    const [red, green, blue, alpha = 1] = text.match(/[\d.]+/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return { rgb: [red * scale, green * scale, blue * scale], alpha };
  }
  function luminance(rgb) {
    const [red, green, blue] = rgb.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }
  const over = (top, alpha, below) => top.map((value, place) => alpha * value + (1 - alpha) * below[place]);
  function ground(element) {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const { rgb, alpha } = colour(getComputedStyle(one).backgroundColor);
      if (alpha > 0) layers.push([rgb, alpha]);
      if (alpha === 1) break;
    }
    return layers.reduceRight((below, [rgb, alpha]) => over(rgb, alpha, below), [255, 255, 255]);
  }

  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data.trim(), element = texts.currentNode.parentElement;
    if (!text || !element.checkVisibility({ visibilityProperty: true }) || element.closest(NOT_READ)) continue;
    const style = getComputedStyle(element), drawing = element instanceof SVGElement;
    const matrix = drawing ? element.getScreenCTM() : null;
    const size = parseFloat(style.fontSize) * (matrix ? Math.min(Math.hypot(matrix.a, matrix.b), Math.hypot(matrix.c, matrix.d)) : 1);
    if (size < SMALLEST_PX - 0.05) faults.add(`${size.toFixed(1)} px: ${told(element, text)}`);
    if (drawing || element.closest(":disabled")) continue;
    const below = ground(element), ink = colour(style.color);
    const [darker, lighter] = [luminance(over(ink.rgb, ink.alpha, below)), luminance(below)].sort((a, b) => a - b);
    const ratio = (lighter + 0.05) / (darker + 0.05);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? CONTRAST_LARGE : CONTRAST)) faults.add(`contrast ${ratio.toFixed(2)}: ${told(element, text)}`);
  }

  const scrolls = (element) => ["auto", "scroll", "hidden"].includes(getComputedStyle(element).overflowX);
  const edge = root.getBoundingClientRect().right + 1;
  for (const element of root.querySelectorAll("*")) {
    if (!element.checkVisibility() || element.getBoundingClientRect().right <= edge || element.closest("svg") !== null && element.tagName !== "svg") continue;
    let within = element.parentElement;
    while (within !== root && !scrolls(within)) within = within.parentElement;
    if (within === root) faults.add(`${Math.round(element.getBoundingClientRect().right - edge)} px too wide: ${told(element)}`);
  }
  for (const button of root.querySelectorAll("button, [role=button], select, input")) {
    const named = button.textContent.trim() || button.getAttribute("aria-label") || button.title || button.labels?.length;
    if (button.checkVisibility() && !named) faults.add(`without a name: <${button.tagName} ${button.dataset.event}>`);
  }
  return [...faults].slice(0, 12);
}
