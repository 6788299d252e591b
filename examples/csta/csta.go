// Package csta is a client of CSTA-XML over TCP for the other examples: one page, for one goroutine.
package csta

import (
	"bufio"
	"context"
	"net"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// Client is a connection to a listener of `xml`.
type Client struct {
	conn   net.Conn
	r      *bufio.Reader
	lastID int
	events []*uacsta.Message // that came while Ask waited for a response
}

// Dial connects to a host:port.
func Dial(ctx context.Context, server string) (*Client, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, r: bufio.NewReader(conn)}, nil
}

// Close closes the connection, and with it its monitors.
func (c *Client) Close() { _ = c.conn.Close() }

// Ask sends a request, a struct of package uacsta, and returns its response. The error is a [*uacsta.Error] if the
// switch refuses the request. Next returns the events that came meanwhile.
func (c *Client) Ask(request any) (*uacsta.Message, error) {
	c.lastID = (c.lastID + 1) % cstaxml.EventID
	frame, err := cstaxml.Frame(c.lastID, uacsta.Encode(request, uacsta.Edition6).Bytes())
	if err != nil {
		return nil, err
	}
	if _, err = c.conn.Write(frame); err != nil {
		return nil, err
	}
	for {
		id, m, err := c.read()
		switch {
		case err != nil:
			return nil, err
		case m.Kind() == uacsta.Event:
			c.events = append(c.events, m)
		case id != c.lastID || m.Kind() == uacsta.Request: // a request of the switch, such as MonitorStop
		case m.Err() != nil:
			return nil, m.Err()
		default:
			return m, nil
		}
	}
}

// Monitor starts a monitor of a device, whose events Next returns.
func (c *Client) Monitor(device string) error {
	object := uacsta.Dev(device)
	_, err := c.Ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}})
	return err
}

// Next waits for the next event.
func (c *Client) Next() (*uacsta.Message, error) {
	if len(c.events) > 0 {
		next := c.events[0]
		c.events = c.events[1:]
		return next, nil
	}
	for {
		if _, m, err := c.read(); err != nil || m.Kind() == uacsta.Event {
			return m, err
		}
	}
}

func (c *Client) read() (id int, m *uacsta.Message, err error) {
	id, document, err := cstaxml.ReadFrame(c.r, cstaxml.MaxFrame, func() {})
	if err != nil {
		return 0, nil, err
	}
	m, err = uacsta.Parse(document)
	return id, m, err
}
