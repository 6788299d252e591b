// Package audit writes what was done and refused into files that show when somebody
// changes them: lines of JSON, each with a hash of itself and of the one before. It
// knows nothing of CSTA.
package audit
