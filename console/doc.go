// Package console serves administrators in a browser: the page, a login, the requests of the admin socket, and the API as
// the identity that has logged in. It is a front that opens no sessions itself: it knows neither the daemon nor a link.
package console
