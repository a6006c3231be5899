// Two things on hover, neither needed to read the page: what a mark means, and the way of a microbatch through a step.
"use strict";
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);

  const place = (event) => {
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 18;
    const y = below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 12 : below;
    tip.style.transform = `translate(${x}px, ${y}px)`;
  };

  const follow = (mark) => {
    const picture = mark && mark.closest("svg.timeline");
    for (const drawn of document.querySelectorAll("svg.timeline [data-microbatch]")) {
      const other = picture && drawn.dataset.microbatch !== mark.dataset.microbatch;
      drawn.classList.toggle("dim", Boolean(other));
    }
  };

  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest("[data-tip]");
    tip.hidden = !mark;
    if (mark) {
      tip.textContent = mark.dataset.tip;
      place(event);
    }
    follow(event.target.closest("[data-microbatch]"));
  });
  document.addEventListener("pointermove", (event) => tip.hidden || place(event));
})();
