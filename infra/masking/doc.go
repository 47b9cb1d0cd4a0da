// Package masking filters a plugin's output before it is stored or sent. It masks secrets, moves comment and status markers to the
// beginning of a line, where the server looks for them, and adds the time of receipt (UTC) to every line without a time.
//
//	raw bytes ──▶ mask ──▶ markers ──▶ times ──▶ text
//	              holds back what may become a secret
//	                       holds back what may become a marker
//
// Every value is masked in these forms, even if it is split over several reads or lines:
//   - unchanged, without surrounding white space. Each line of a multi-line value is also masked by itself, because a logger may put a
//     prefix before every line;
//   - as JSON (Go with and without HTML escapes, Python in ASCII), URL-escaped (path and query, %XX in upper case) and in base64 (both
//     alphabets);
//   - inside a longer base64 text, such as that of user:password, if at least eight of its characters depend on the value alone.
//
// Values of fewer than three characters are not masked, because that would mask half of the log. Neither are such short lines
// of a value, except where the whole value appears. The filter cannot recognize a value that the plugin encodes in another way, converts to
// upper case or truncates.
//
// One mask covers values that overlap or contain each other. The result does not depend on how the input is split.
//
// The cost per byte does not depend on the number of secrets. Memory is bounded: the filter holds up to 4 KiB of what may become a secret
// (68 KiB while matches overlap) and 64 KiB of masked text of what may become a marker. Patterns take about 1 KiB of memory per byte of
// a secret, and 10 ms to build per KiB. At most 1 MiB of raw bytes is held: a marker that holds more, because most of it is masked,
// is emitted as text.
package masking
