// Package masking is what a plugin's output passes before it is kept or sent: no secret is in it afterwards, and the
// markers of comments and status lines stand where the server looks for them, and every line bears a time.
//
//	raw bytes ──▶ mask ──▶ markers ──▶ times ──▶ text
//	              holds back what may become a secret
//	                       holds back what may become a marker
//
// A line in which its plugin says no time begins with that of its receipt, in UTC.
//
// Masked is every value, also when reads or lines split it:
//   - as it is, without the white space around it, and each line of a value that has several. So a value whose lines
//     a logger puts behind prefixes of its own is masked line by line, at any distance;
//   - as JSON writes it (in Go, with and without its HTML escapes, and in Python, in ASCII), as a URL writes it (path and
//     query, %XX in upper case), in base64 (both alphabets), and inside a longer base64 text, such as that of user:password,
//     from eight characters that are its alone.
//
// Not masked is what has fewer than three characters: it would take half of the log with it. This goes for the lines of a
// value too, where they do not stand in the whole of it. Nor is a value seen that is encoded in another way, upper-cased or
// cut short by the plugin itself: no filter can.
//
// Where values overlap or one contains the other, all of it goes behind one mask. The result does not depend on how the
// input was split.
//
// Cost is flat per byte, whatever the number of secrets. Memory is bounded: 4 KiB are held for what may become a secret
// (64 KiB and 4 while matches overlap), 64 KiB of masked text for what may become a marker. The patterns take about 1 KiB
// for each byte of a secret, and 10 ms to make for each KiB. Nothing waits longer than 1 MiB of raw bytes: a marker that has
// more in it, because most of it is masked, is left as text.
package masking
