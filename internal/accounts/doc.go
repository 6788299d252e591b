// Package accounts keeps the names and passwords of applications: hashed, in a file of
// one line each, and guarded against guessing. It knows nothing of CSTA.
package accounts
