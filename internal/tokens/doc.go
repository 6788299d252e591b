// Package tokens keeps bearer tokens in a file. A token stands for a name, with a scope and until a time.
// It knows nothing of CSTA.
package tokens
