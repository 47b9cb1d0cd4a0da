// Package spool stores everything that must survive a crash: jobs with their journals, logs and results, executor records and
// directories, and the runner's identity. It makes no decisions. Once a method has returned without an error, its effect survives
// a crash at any moment, except where its comment says "Not durable". The files are readable with ls and cat.
//
//	lock                 held (flock) by the process that uses the directory
//	format               version of the layout, itself a record
//	identity.json        and identity.copy.json: the runner's keys
//	server.json          setting: the last configuration from the server
//	gateway.json         setting: the gateway's address
//	jobs/<name>/         job.json    head and encrypted input
//	                     journal     one line per synced step
//	                     log         masked text; log.pos: its checkpoints; log.acked: how many bytes the server has
//	                     result      head and body as the plugin delivered it
//	jobs/.preallocated-… an empty job directory, ready for the next job
//	executors/<id>/      executor.json    its record, newest line last
//	                     out/             the only directory that the plugin writes to
//	                     sa/, …           files that the plugin reads
//	corrupt/             quarantine: records that could not be read
//	rejected/            jobs that the server refused, each with the server's answer
//	reserve              preallocated space for steps and results when the disk is full
//	tmp/                 files being created or deleted; emptied by Open
//
// A record is a line: CRC-32C in eight hex digits, a space, JSON. A file with a body has such a line as its head, with the length
// and checksum of the body. <name> is the job's ExecutionID if that is a safe file name, else "_" and its SHA-256.
//
// # Order of writes
//
// Every write goes in this order: content, fsync, name, fsync of the directory, and only then the index in memory, which is
// what other goroutines see.
//
//   - Add writes job.json into a preallocated directory in jobs/, syncs it, and then renames the directory. After a crash before
//     the fsync, Open deletes the incomplete preallocated directory; after a crash later than that, Open completes the rename. The job's
//     other files exist from the start, empty, so that writing them later needs no fsync of a directory.
//   - A step is one line and one fsync. The steps confirmed, delivered and finished are not synced; the next step's line includes
//     them and replaces theirs. Therefore only the last line of a journal can be torn. Open cuts it off, because nobody was told of
//     its content. An unreadable line elsewhere is damage.
//   - HandOut takes effect in the job's journal. The executor's record is written after it without an fsync; Open restores each
//     from the other.
//   - StoreResult takes effect in the result file alone, with one fsync. An incomplete result file counts as no result. Its head is
//     written last, so a killed process never leaves a head with an incomplete body: only a loss of power or damage does. A complete
//     result left behind by a failed write is accepted, unless the job's ending was already reported without one (Stopped).
//   - AppendLog writes and syncs the text, then a checkpoint. Two checkpoints are written in turn. Each one verifies the text since the
//     one before it; text after the newest valid checkpoint does not count. A damaged checkpoint or text therefore loses only the
//     newest part of the log, which is read again from the executor's output.
//   - Remove renames the directory into tmp/, syncs jobs/, and deletes it. After a crash the job is complete or gone.
//   - Open first syncs the whole file system, because a killed process may have left data that is readable but not yet durable.
//
// A failed fsync is never repeated in the hope that it succeeds, because the kernel has forgotten what it could not write: the
// write is undone, and the next attempt writes everything again. After an error the index is unchanged. The disk is unchanged
// too, unless the undo failed as well: then the next Open may find the failed step. That is safe, because nobody has acted on it.
// Remove and RemoveExecutor may return an error after they have taken effect, if the deletion in tmp/ failed.
//
// # Damage
//
// Open verifies every record. It moves an unreadable one to corrupt/, together with the job or executor that cannot exist without
// it, and lists it in Problems. Other records are not affected. Problems also lists what may be either a torn write or damage
// (the last line of a journal, a result that ends early).
//
// # Limits
//
// The spool needs Linux, and a local file system whose fsync is reliable. Jobs and executors are indexed in memory, without inputs, logs and
// results. Open reads every file of a job once. Two losses are not detected: complete lines missing at the end of a journal
// (except the hand-out, which the executor's record repeats), and an empty result file. Only operators empty corrupt/ and
// rejected/. A plugin may leave files in out/ that only its own user can delete: if runnerd is not root, RemoveExecutor fails
// once, and the files stay in tmp/ until the next Open moves them to corrupt/.
package spool
