// What an answer means and how it is said. Nothing here knows of the page or of the browser.

export const OTHER = 'other' // the label which means: none of the kinds

// Most probable first, `other` last: the order in which people are shown labels.
export function ranked(labels, probs) {
  const all = labels.map((label, i) => ({label, p: probs[i]})), none = o => o.label === OTHER
  return all.sort((a, b) => none(a) - none(b) || b.p - a.p)
}

// Which labels count, most probable first: those that reach their thresholds, `other` only where no kind does; the
// most probable one if there are no thresholds.
export function found(probs, thresholds, labels) {
  const all = labels.map((label, i) => ({label, p: probs[i]})).sort((a, b) => b.p - a.p)
  if (!thresholds) return [all[0].label]
  const reached = all.filter(o => o.p >= thresholds[o.label]).map(o => o.label), kinds = kindsOf(reached)
  return kinds.length ? kinds : reached
}

export const kindsOf = labels => labels.filter(k => k !== OTHER)

// `thresholds` moved by the same number of steps in log-odds, which moves them far where they are in the middle and
// little at the ends, and never out of 0 to 1; one of exactly 0 or 1 stays.
export function moved(thresholds, steps) {
  const move = t => steps && t > 0 && t < 1 ? 1/(1 + Math.exp(-steps)*(1 - t)/t) : t
  return thresholds && Object.fromEntries(Object.entries(thresholds).map(([k, t]) => [k, move(t)]))
}

const capital = text => text.charAt(0).toUpperCase() + text.slice(1)

export function inWords(names) {
  const most = names.slice(0, -1), last = names.at(-1)
  return most.length ? `${most.join(', ')} and ${last}` : last
}

// The answer in a few words, and a sentence where these words are that nothing was found.
export function headline(labels, {names, kinds}) {
  const nameOf = k => names[k], seen = kindsOf(labels), looked = `The model looked for ${inWords(kinds.map(nameOf))}`
  if (seen.length) return [capital(inWords(seen.map(nameOf))), '']
  if (labels.length) return [capital(nameOf(OTHER)), `${looked}, and takes this for none of them.`]
  return ['Not sure', `${looked}, and is not sure enough of any.`]
}

// Where a map has its evidence, in words: the middle of what speaks at least half as strongly as its strongest part.
export function whereInWords({rows, columns, values}) {
  const most = Math.max(...values), strong = values.map(v => v >= most/2 ? v : 0)
  const sum = strong.reduce((a, b) => a + b, 0)
  if (strong.filter(v => v).length > rows*columns*.6) return 'all over'
  const middle = place => strong.reduce((at, v, i) => at + v*place(i), 0)/sum
  const x = middle(i => (i % columns + .5)/columns), y = middle(i => (Math.floor(i/columns) + .5)/rows)
  const third = at => Math.min(2, Math.floor(at*3))
  const words = [['left', '', 'right'][third(x)], ['at the top', 'in the middle', 'at the bottom'][third(y)]]
  return words.filter(Boolean).join(', ')
}

// The table of all answers, in the columns of `bearclf predict --csv`; then how sure the model had to be, in the words
// of the slider, and from which probability on each label counted.
export function csvOf(cards, labels, thresholds, sure) {
  const quoted = text => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  // no spreadsheet may take a file's name for a formula: https://owasp.org/www-community/attacks/CSV_Injection
  const plain = name => /^\s*[=+\-@＝＋－＠]/.test(name) ? `'${name}` : name
  const marks = thresholds ? [sure, ...labels.map(k => thresholds[k].toFixed(6))] : []
  const more = thresholds ? ['how sure', ...labels.map(k => `${k} counts from`)] : []
  const head = ['file', 'labels', ...labels, 'error', ...more]
  const row = c => c.error ? [plain(c.name), '', ...labels.map(() => ''), c.error, ...marks]
    : [plain(c.name), found(c.probs, thresholds, labels).join(';'), ...c.probs.map(p => p.toFixed(6)), '', ...marks]
  return [head, ...cards.map(row)].map(cells => cells.map(quoted).join(',') + '\r\n').join('')
}
