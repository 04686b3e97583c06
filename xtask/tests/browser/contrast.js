// The visible texts whose contrast is below that of WCAG 2.2, criterion 1.4.3: 4.5, or 3 for large text. Colours are painted on a
// canvas to read them as numbers, whatever their notation.
(() => {
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const paint = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
    }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const backgrounds = (element) => (element ? [...backgrounds(element.parentElement), getComputedStyle(element).backgroundColor] : []);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const low = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || ["SCRIPT", "STYLE"].includes(element.tagName)) {
      continue;
    }
    const style = getComputedStyle(element);
    const behind = backgrounds(element);
    const ratio = contrast(paint([...behind, style.color]), paint(behind));
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) {
      low.add(`${element.className || element.tagName}: ${walker.currentNode.data.trim().slice(0, 40)} (${ratio.toFixed(2)})`);
    }
  }
  return [...low];
})();
