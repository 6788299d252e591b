package daemon

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Why a virtual telephone cannot be pressed.
var (
	errNoPhones   = errors.New("telephones are lifted and dialled here in demo and simulate only")
	errNotVirtual = errors.New("there is no such virtual telephone")
	errNothing    = errors.New("nothing rings here; dial a number")
	errOnHook     = errors.New("the telephone is on hook")
	errNoDigits   = errors.New("name the number to dial")
)

// press does with a virtual telephone of the built-in switch what its user does: lift, hang-up, or dial a number.
func (n *Node) press(number, what, digits string) error {
	if !n.play {
		return errNoPhones
	}
	if !slices.ContainsFunc(n.configuration().Switch.Extensions, func(e config.Extension) bool { return e.Number == number && e.SIP == nil }) {
		return errNotVirtual
	}
	found, err := n.connectionsOf(number)
	if err != nil {
		return err
	}
	switch what {
	case "lift":
		for _, c := range found {
			if c.state == uacsta.Alerting || c.state == uacsta.Initiated {
				return n.sw.Perform(uacsta.AnswerCall{CallToBeAnswered: c.id})
			}
		}
		return errNothing
	case "hang-up":
		return n.hangUp(found)
	case "dial":
		if digits == "" {
			return errNoDigits
		}
		return n.sw.Perform(uacsta.MakeCall{CallingDevice: uacsta.Dev(number), CalledDirectoryNumber: uacsta.Dev(digits), AutoOriginate: uacsta.DoNotPrompt})
	}
	return fmt.Errorf("a telephone cannot be told to %.32q", what)
}

// hangUp clears the connection that is active, or else the others.
func (n *Node) hangUp(found []pressed) error {
	if len(found) == 0 {
		return errOnHook
	}
	active := slices.DeleteFunc(slices.Clone(found), func(c pressed) bool {
		return c.state == uacsta.Hold || c.state == uacsta.Alerting || c.state == uacsta.Queued
	})
	if len(active) == 0 {
		active = found
	}
	for _, c := range active {
		if err := n.sw.Perform(uacsta.ClearConnection{ConnectionToBeCleared: c.id}); err != nil {
			return err
		}
	}
	return nil
}

// pressed is a connection of a telephone.
type pressed struct {
	id    uacsta.ConnectionID
	state uacsta.LocalConnectionState
}

// connectionsOf returns the connections of a telephone.
func (n *Node) connectionsOf(number string) ([]pressed, error) {
	res, err := n.sw.Ask(uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(number)}, uacsta.Edition6))
	if err != nil {
		return nil, err
	}
	var snapshot uacsta.SnapshotDeviceResponse
	if err := res.Decode(&snapshot); err != nil {
		return nil, err
	}
	var list []pressed
	if data := snapshot.CrossRefIDorSnapshotData.SnapshotData; data != nil {
		for _, info := range data.SnapshotDeviceResponseInfo {
			if states := info.LocalCallState.CompoundCallState; len(states) > 0 {
				list = append(list, pressed{info.ConnectionIdentifier, states[0]})
			}
		}
	}
	return list, nil
}
