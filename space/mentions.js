// Opens and closes the card of a mention, by mouse, Enter, Space and Escape; one is open at a time.
const buttons = () => element.querySelectorAll('.mention[aria-expanded="true"]');
const close = (button) => {
  button.setAttribute("aria-expanded", "false");
  document.getElementById(button.getAttribute("aria-controls")).hidden = true;
};
const toggle = (button) => {
  const wasOpen = button.getAttribute("aria-expanded") === "true";
  buttons().forEach(close);
  if (wasOpen) return;
  button.setAttribute("aria-expanded", "true");
  document.getElementById(button.getAttribute("aria-controls")).hidden = false;
};
element.addEventListener("click", (event) => {
  const button = event.target.closest(".mention");
  if (button) toggle(button);
});
element.addEventListener("keydown", (event) => {
  if (event.key === "Escape") buttons().forEach(close);
  const button = event.target.closest(".mention");
  if (!button || (event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  toggle(button);
});
