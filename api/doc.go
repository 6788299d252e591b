// Package api serves programs that speak HTTP: resources and actions in JSON, events over WebSocket and Server-Sent
// Events, and every CSTA request as JSON or XML. It is a front: it knows no link.
//
// The description of the interface, /openapi.json, comes from the Go types and from the table of messages; docs/api.md
// introduces it.
package api
