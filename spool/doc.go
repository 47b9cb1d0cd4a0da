// Package spool keeps what must survive: jobs with their journals, logs and results, the executors' records and directories,
// and the identity of the runner. It decides nothing. What its verbs have said is so after a crash at any moment, and what a
// person finds in the directory is readable with ls and cat.
//
//	lock                 who uses the directory (flock)
//	format               version of all that follows, a record too
//	identity.json        and identity.copy.json: the runner's keys
//	server.json          settings: the last configuration from the server,
//	gateway.json         the gateway's address,
//	jobs/<name>/         job.json    head and encrypted input (.spare-…: of a job to come)
//	                     journal     one line per synced step
//	                     log         masked text; log.pos: how much of it counts; log.acked: how much the server has
//	                     result      head and body as the plugin delivered it
//	executors/<id>/      executor.json    its record, newest line last
//	                     out/             the only place that the plugin writes to
//	                     sa/, …           what it reads
//	corrupt/ rejected/   kept for a person
//	reserve              space for steps and results when the disk is full
//	tmp/                 being made or deleted; emptied by Open
//
// A record is a line: CRC-32C in eight hex digits, a blank, JSON. A file with a body has such a line as its head, with length
// and checksum of the rest. <name> is the job's ExecutionID where that is plain, else "_" and its SHA-256.
//
// # Order of writes
//
// The rule is: content, fsync, name, fsync of the directory, and only then the index in memory, which is what others see.
//
//   - Add: job.json, fsync, in a directory of jobs/ that was made and synced before; then the directory's name. A crash before
//     the fsync leaves half a job under a name that says so, which Open takes away, and one after it a whole job, which Open
//     gives its name. The other files are there, empty, so that writing them later needs no fsync of a directory.
//   - A step: one line, one fsync; none for confirmed and finished, which the next step takes into its own line. So only the
//     last line of a journal can be torn, nobody was told of what it says, and it is cut. A bad line elsewhere is damage.
//   - HandOut: the job's journal decides. The executor's record follows without fsync; Open restores the one from the other.
//   - StoreResult: the result file alone decides, one fsync. Until it is whole it is none; its head is written last, so one that
//     has a head and is not whole was not left by a kill. What comes whole from an attempt that failed counts as well, unless
//     Stopped, which ends what may be told of a job, came before without it.
//   - AppendLog: text, fsync; mark, fsync. Two marks are written in turn, each proves the piece before it, and text behind the
//     newest that is proven does not count. A damaged mark or piece thus costs the newest piece, and reading the executor's
//     output goes on before it.
//   - Remove: rename into tmp/, fsync of jobs/, delete. A crash leaves all of a job or nothing that is read.
//   - Open: first everything is synced, for a process that was killed may leave what can be read and is not yet safe.
//
// An fsync that failed is never repeated in the hope of a better answer: what it was for is taken back, and the next attempt
// writes all of it again. After an error the index is as it was, and the disk too, unless it failed at that as well: then the
// next Open may find the step that failed, and each is safe to find, for others had not acted on it. Two verbs may have done
// their work and fail at the deletion behind it, Remove and RemoveExecutor: index and disk then agree that it is done.
//
// # Damage
//
// Every record is checked by Open. One that cannot be read is moved to corrupt/, with the job or the executor it is of where that
// cannot be without it, and listed by Problems; the others are not affected. What a torn write and damage have in common (a last
// line, a result that ends early) is listed too.
//
// # Limits
//
// Linux, a local file system that keeps fsync's promise. Jobs and executors are indexed in memory without inputs, logs and
// results. Open reads every file of a job once. Not noticed: that a disk has lost whole lines at the end of a journal (but for
// the hand-out, which the executor's record knows) or all of a result. corrupt/ and rejected/ are emptied by people. A plugin
// may leave in out/ what only its own user may delete: where runnerd is not root, RemoveExecutor fails once, and the leftover
// stays in tmp/, then in corrupt/.
package spool
