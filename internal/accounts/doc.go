// Package accounts keeps the names and hashed passwords of accounts in a file, and protects
// passwords against guessing. It knows nothing of CSTA.
package accounts
