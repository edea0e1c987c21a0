/**
 * The one total order of JSON values. Of two values of one field at the very same instant the larger one stands as the
 * latest, so that neither the order of arrival nor a redelivery decides.
 *
 *   null < strings < numbers < false < true < arrays < objects
 *
 * Kinds rank as in PostgreSQL's own order of jsonb. That order cannot be taken whole: it compares strings by the
 * collation of the database. Numbers compare by value, strings by the bytes of their UTF-8, arrays and objects by the
 * bytes of jsonb's text (members by the length of their names, then by bytes; one space behind each colon and comma;
 * numbers without an exponent). Two values are equal where jsonb says so. A test compares both forms below on random
 * values.
 */
const KINDS = ['null', 'string', 'number', 'boolean', 'array', 'object'] as const
type Kind = typeof KINDS[number]

/** Positive where `a` is larger than `b`, 0 where they are equal; both as JSON.parse gives them. */
export function compareJson (a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  const kind = toKind(a)
  const difference = KINDS.indexOf(kind) - KINDS.indexOf(toKind(b))
  if (difference !== 0 || kind === 'null') return difference
  return Buffer.compare(Buffer.from(toText(a)), Buffer.from(toText(b)))
}

/** Whether the jsonb `a` is larger than `b`. Part of a released migration: it never changes. */
export const CREATE_IS_LARGER = 'create function vital_is_larger (a jsonb, b jsonb) returns boolean ' +
  `language plpgsql immutable parallel safe as $$
  declare
    kinds constant text[] := '{"${KINDS.join('","')}"}';
    kind constant text := jsonb_typeof(a);
    difference constant int := array_position(kinds, kind) - array_position(kinds, jsonb_typeof(b));
  begin
    if difference <> 0 then return difference > 0; end if;
    if kind = 'null' then return false; end if;
    if kind = 'number' then return a::numeric > b::numeric; end if;
    -- UTF-8 whatever the encoding of the database, and bytes whatever its collation.
    return convert_to(a #>> '{}', 'UTF8') > convert_to(b #>> '{}', 'UTF8');
  end
$$`

function toKind (value: unknown): Kind {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  return typeof value as Kind
}

/** jsonb's `#>> '{}'`: a string without its quotes, any other value as text. */
function toText (value: unknown): string {
  return typeof value === 'string' ? value : toJsonbText(value)
}

function toJsonbText (value: unknown): string {
  if (typeof value === 'number') return toPlainDigits(String(value))
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(toJsonbText).join(', ')}]`
  const members = Object.entries(value).map(([name, member]) => ({ name, bytes: Buffer.from(name), member: member as unknown }))
  members.sort((a, b) => a.bytes.length - b.bytes.length || Buffer.compare(a.bytes, b.bytes))
  return `{${members.map(({ name, member }) => `${JSON.stringify(name)}: ${toJsonbText(member)}`).join(', ')}}`
}

/** A number as ECMAScript prints it, without its exponent: `1.5e-7` is `0.00000015`. */
function toPlainDigits (text: string): string {
  const [mantissa = '', exponent] = text.split('e')
  if (exponent === undefined) return mantissa
  const sign = mantissa.startsWith('-') ? '-' : ''
  const [whole = '', fraction = ''] = mantissa.slice(sign.length).split('.')
  const digits = whole + fraction
  // Whole numbers from 1e21 on have at most 17 digits before their zeros, so none stands behind the point.
  return sign + (exponent.startsWith('-')
    ? `0.${digits.padStart(Number(exponent.slice(1)) - 1 + digits.length, '0')}`
    : digits.padEnd(Number(exponent) + 1, '0'))
}
