// Runs the conformance cases that lie beside the page, and fills their table.

/** Runs all cases on an engine; returns how many passed and how many failed. */
export async function runCases(normalizer, table, progress) {
  const names = await (await served("cases/cases.json")).json();
  const counts = { pass: 0, FAIL: 0 };
  const rows = document.createDocumentFragment();
  table.replaceChildren();
  for (const [i, name] of names.entries()) {
    const bytes = new Uint8Array(await (await served(`cases/${name}`)).arrayBuffer());
    const outcome = JSON.parse(await normalizer.check(name, bytes));
    counts[outcome.result] += 1;
    rows.append(row(name.replace(/\.safetensors$/, ""), outcome));
    progress.value = (i + 1) / names.length;
    if (i % 8 === 0) await painted(table, rows);
  }
  await painted(table, rows);
  return counts;
}

async function served(path) {
  const answer = await fetch(path).catch(() => null);
  if (!answer?.ok) throw `${path}: not served beside the page. build.sh puts the cases there.`;
  return answer;
}

/** Shows the rows that there are, and lets the browser draw them. */
function painted(table, rows) {
  table.append(rows);
  return new Promise((resume) => setTimeout(resume));
}

function row(name, { result, worst, reason }) {
  const row = document.createElement("tr");
  const detail = reason ?? worst.toPrecision(3);
  for (const text of [name, result, detail]) row.append(Object.assign(document.createElement("td"), { textContent: text }));
  row.children[1].className = result.toLowerCase();
  return row;
}
