const filters = document.querySelector("#filters");
const cases = [...document.querySelectorAll(".case")];
function apply() {
  const { outcome, operation, text } = Object.fromEntries(new FormData(filters));
  let shown = 0;
  for (const each of cases) {
    const outcomes = each.dataset.outcomes.split(" ");
    const fits =
      (!outcome || (outcome === "not-equal" ? outcomes.some((one) => one !== "equal") : outcomes.includes(outcome))) &&
      (!operation || each.dataset.operation === operation) &&
      (!text || each.textContent.toLowerCase().includes(text.toLowerCase()));
    each.hidden = !fits;
    shown += fits;
  }
  document.querySelector("#shown").textContent = `${shown} of ${cases.length} cases`;
}
filters.hidden = false;
filters.addEventListener("input", apply);
filters.addEventListener("submit", (event) => event.preventDefault());
apply();
