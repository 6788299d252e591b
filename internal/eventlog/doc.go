// Package eventlog keeps events in order, so that readers resume where they stopped: in one file that survives a
// crash, or in memory. It knows nothing of CSTA.
//
// # Numbers
//
// Each entry has a number, one more than the entry before it. The numbers of a new log begin with the time, in
// microseconds since 1970. So a position in a log that no longer exists lies before the new one, and its reader is told
// of the gap. Numbers never repeat. They skip some, which readers see as a gap, only when
//
//   - the queue was full, and entries were dropped;
//   - the file could not be written for so long that entries left memory before it could, or until the program ended;
//   - the file was damaged, or the machine failed before it had written what an unsynced log gave to it.
//
// # Durability
//
// Readers see an entry after its commit. Everything that waits is one commit. By default a commit is on the disk, and
// survives a failure of the machine. With [Limits.Unsynced] the operating system has it: it survives the end of the
// program, whatever the cause, and not a failure of the machine. While the file cannot be written, as when the disk is
// full, readers get entries from memory, and the log writes them later.
package eventlog
