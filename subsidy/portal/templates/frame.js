// Airflow shows these pages in a frame that may not navigate the window; a link inside Airflow's own document may.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[target=_top]");
  if (!link || window.parent === window || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const outside = window.parent.document.createElement("a");
  outside.href = link.href;
  window.parent.document.body.append(outside);
  outside.click();
  outside.remove();
});
// A change of the month needs no second click; without this script the button does it.
for (const select of document.querySelectorAll("select[data-go]")) select.addEventListener("change", () => select.form.submit());
