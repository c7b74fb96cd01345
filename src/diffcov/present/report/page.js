// Tables sort by a click on a head, or by Enter; a second time the other way round. Without this they stay as they are.
(() => {
  "use strict";
  const value = (cell) => {
    const text = cell.textContent.trim().replaceAll("\u2212", "-").replace(/\s*%$/, "");
    return text === "\u2013" || text === "" ? null : text;
  };
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  };
  const sort = (table, head) => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    const rows = [...table.tBodies[0].rows].map((row) => [value(row.cells[head.cellIndex]), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return up ? compare(a, b) : compare(b, a);
    });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table:not(.sheets):not(.words)")) {
    for (const head of table.tHead.rows[0].cells) {
      head.classList.add("sorts");
      head.tabIndex = 0;
      head.addEventListener("click", () => sort(table, head));
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          sort(table, head);
        }
      });
    }
  }
  const boxes = document.querySelectorAll(".scroll");
  const look = () => {
    for (const box of boxes) {
      box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
    }
  };
  for (const box of boxes) box.addEventListener("scroll", look, { passive: true });
  for (const folded of document.querySelectorAll("details")) folded.addEventListener("toggle", look);
  addEventListener("resize", look);
  look();
})();
