// What is inside a type is fetched when it is first opened.
element.addEventListener("toggle", async (event) => {
  const inside = event.target.querySelector(":scope > .inside");
  if (!event.target.open || !inside || inside.dataset.filled) return;
  inside.dataset.filled = "yes";
  inside.innerHTML = await server.inside([props.head_name, event.target.dataset.type]);
}, true);
