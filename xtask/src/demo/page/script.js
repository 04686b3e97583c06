"use strict";
// The button switches between light and dark. Without it, and without this script, the page follows the system.
// The address may end with #light or #dark, for pictures.
(() => {
  const root = document.documentElement;
  const button = document.getElementById("scheme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const current = () => root.dataset.scheme || (system.matches ? "dark" : "light");
  const show = () => {
    const other = current() === "dark" ? "Light" : "Dark";
    button.textContent = other;
    button.setAttribute("aria-label", `Switch to ${other.toLowerCase()} colours`);
  };
  const wanted = location.hash.slice(1);
  if (wanted === "light" || wanted === "dark") {
    root.dataset.scheme = wanted;
  }
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.scheme = current() === "dark" ? "light" : "dark";
    show();
  });
  system.addEventListener("change", show);
  show();
})();
