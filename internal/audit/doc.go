// Package audit writes an audit log in which later changes are evident: lines of JSON, each
// with a hash over itself and the previous line. It knows nothing of CSTA.
package audit
