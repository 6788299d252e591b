// Package socket carries CSTA-XML in the messages of a WebSocket: [Conn] is a net.Conn that turns each message into a frame
// with header, and each frame into a message. It knows neither the core nor who the client is.
package socket
