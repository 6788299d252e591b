package uacsta

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/beevik/etree"
)

// The struct tag `csta:"name,option..."` describes how a field is encoded. The order of the fields is
// the order of the schema.
//
//	name          the child element
//	name>item     a wrapper element with any number of items
//	required      mandatory: its absence is an error when decoding
//	items         the items themselves repeat, without wrapper
//	destinations  plain up to edition 5, a list of device elements in edition 6
//	choice        one of several, of which exactly one is there
//	ed6           exists from edition 6 on
//	ed3           exists up to edition 5
//	ed3=name      has this name up to edition 5
type fieldPlan struct {
	index        int
	name, item   string
	required     bool
	items        bool
	destinations bool
	choice       bool
	ed6, ed3     bool
	text         bool   // a plain string
	earlier      string // its name up to edition 5, if that differs
}

// in reports whether the edition has the field.
func (f *fieldPlan) in(edition Edition) bool {
	if edition >= Edition6 {
		return !f.ed3
	}
	return !f.ed6
}

// nameIn returns the element's name in the edition.
func (f *fieldPlan) nameIn(edition Edition) string {
	if f.earlier != "" && edition < Edition6 {
		return f.earlier
	}
	return f.name
}

// itemIn returns the name of the items in the element in the edition, or "" if it holds none.
func (f *fieldPlan) itemIn(edition Edition) string {
	if f.destinations && edition >= Edition6 {
		return "device"
	}
	return f.item
}

// itemOf returns the type of a field's items, or that of the field itself.
func itemOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Slice && t != reflect.TypeFor[Capabilities]() {
		return t.Elem()
	}
	return t
}

type elementEncoder interface{ encode(*etree.Element) }

type editionEncoder interface {
	encodeFor(*etree.Element, Edition)
}

type elementDecoder interface{ decode(*etree.Element) error }

var plans sync.Map // reflect.Type -> []fieldPlan

func planOf(t reflect.Type) []fieldPlan {
	if p, ok := plans.Load(t); ok {
		return p.([]fieldPlan)
	}
	var plan []fieldPlan
	for i := range t.NumField() {
		tag, ok := t.Field(i).Tag.Lookup("csta")
		if !ok {
			continue
		}
		parts := strings.Split(tag, ",")
		f := fieldPlan{index: i}
		f.text = t.Field(i).Type.Kind() == reflect.String
		f.name, f.item, _ = strings.Cut(parts[0], ">")
		for _, option := range parts[1:] {
			switch option {
			case "required":
				f.required = true
			case "items":
				f.items = true
			case "destinations":
				f.destinations = true
			case "choice":
				f.choice = true
			case "ed6":
				f.ed6 = true
			case "ed3":
				f.ed3 = true
			default:
				var ok bool
				if f.earlier, ok = strings.CutPrefix(option, "ed3="); !ok {
					panic("uacsta: unknown option " + option + " in the tag of " + t.String())
				}
			}
		}
		plan = append(plan, f)
	}
	plans.Store(t, plan)
	return plan
}

// Encode encodes a struct, or a pointer to one, as a message of the given edition: children in schema
// order, default namespace, no prefixes. It leaves out fields that the edition does not have.
func Encode(v any, edition Edition) *Message {
	rv := reflect.Indirect(reflect.ValueOf(v))
	root := &etree.Element{Tag: rv.Type().Name()}
	namespace := edition.Namespace()
	if isSessionService(root.Tag) {
		namespace = NamespaceApplSession
	}
	root.Attr = []etree.Attr{{Key: "xmlns", Value: namespace}}
	encodeStruct(root, rv, edition.Written())
	if rv.Kind() == reflect.Struct {
		if f := rv.FieldByName("Common"); f.IsValid() {
			c := f.Interface().(Common)
			for _, u := range append(append([]Raw{}, c.Unknown...), c.Extensions) {
				if !u.IsZero() {
					root.AddChild(u.element.Copy())
				}
			}
		}
	}
	return &Message{root: root}
}

func encodeStruct(e *etree.Element, v reflect.Value, edition Edition) {
	for _, f := range planOf(v.Type()) {
		if f.in(edition) {
			f.name = f.nameIn(edition)
			encodeField(e, v.Field(f.index), f, edition)
		}
	}
}

func encodeField(e *etree.Element, v reflect.Value, f fieldPlan, edition Edition) {
	switch {
	case f.text:
		if text := v.String(); text != "" {
			add(e, f.name).AddChild(etree.NewText(text))
		} else if f.required {
			add(e, f.name)
		}
	case f.destinations:
		encodeDestinations(e, v.Interface().([]DeviceID), f.name, edition)
	case f.items:
		for i := range v.Len() {
			encodeValue(add(e, f.name), v.Index(i), edition)
		}
	case f.item != "":
		if v.Len() == 0 && !f.required {
			return
		}
		wrapper := add(e, f.name)
		for i := range v.Len() {
			encodeValue(add(wrapper, f.item), v.Index(i), edition)
		}
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			return
		}
		if enc, ok := v.Interface().(elementEncoder); ok {
			enc.encode(add(e, f.name))
			return
		}
		encodeValue(add(e, f.name), v.Elem(), edition)
	case f.required || !v.IsZero():
		if raw, ok := v.Interface().(Raw); ok {
			if !raw.IsZero() {
				e.AddChild(raw.element.Copy())
			}
			return
		}
		encodeValue(add(e, f.name), v, edition)
	}
}

func encodeDestinations(e *etree.Element, devices []DeviceID, name string, edition Edition) {
	wrapper := add(e, name)
	if edition < Edition6 {
		if len(devices) > 0 {
			devices[0].encode(wrapper)
		}
		return
	}
	for _, d := range devices {
		d.encode(add(wrapper, "device"))
	}
}

func encodeValue(e *etree.Element, v reflect.Value, edition Edition) {
	if enc, ok := v.Interface().(elementEncoder); ok {
		enc.encode(e)
		return
	}
	if enc, ok := v.Interface().(editionEncoder); ok {
		enc.encodeFor(e, edition)
		return
	}
	var text string
	switch v.Kind() {
	case reflect.String:
		text = v.String()
	case reflect.Bool:
		text = strconv.FormatBool(v.Bool())
	case reflect.Int:
		text = strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		text = formatFloat(v.Float())
	case reflect.Struct:
		encodeStruct(e, v, edition)
		return
	default:
		panic("uacsta: cannot encode " + v.Type().String())
	}
	if text != "" {
		e.AddChild(etree.NewText(text))
	}
}

// Decode decodes the message into the struct that v points to, whose type has the name of the message.
// Children may come in any order and with any prefix. The error is an [*Error] to send back as it is.
// After an error that is [Missing], all elements that are present have been decoded.
func (m *Message) Decode(v any) error {
	rv := reflect.ValueOf(v).Elem()
	if name := rv.Type().Name(); name != m.root.Tag {
		return fmt.Errorf("a %s cannot be decoded as %s", m.root.Tag, name)
	}
	known, err := decodeStruct(m.root, rv)
	holder, ok := v.(interface{ common() *Common })
	if !ok || known == nil {
		return err
	}
	c := holder.common()
	for _, t := range m.root.Child {
		e, ok := t.(*etree.Element)
		switch {
		case !ok || known[e.Tag]:
		case e.Tag == "extensions":
			c.Extensions = Raw{e}
		default:
			c.Unknown = append(c.Unknown, Raw{e})
		}
	}
	return err
}

// decodeStruct decodes a struct and returns the names that it knows; nil after an error other than a
// missing element.
func decodeStruct(e *etree.Element, v reflect.Value) (known map[string]bool, err error) {
	plan := planOf(v.Type())
	known = make(map[string]bool, len(plan))
	for _, f := range plan {
		known[f.name] = true
		if f.earlier != "" {
			known[f.earlier] = true
		}
		if fault := decodeField(e, v.Field(f.index), f); fault != nil {
			if !Missing(fault) {
				return nil, fault
			}
			err = fault
		}
	}
	return known, err
}

func decodeField(e *etree.Element, v reflect.Value, f fieldPlan) error {
	if f.items {
		return decodeItems(e, v, f.name)
	}
	c := child(e, f.name)
	if c == nil && f.earlier != "" {
		c = child(e, f.earlier)
	}
	switch {
	case c == nil && f.required && !f.ed6 && !f.ed3: // the edition is not known here
		return missing(f.name)
	case c == nil:
		return nil
	case f.destinations:
		if !hasElement(c) {
			var d DeviceID
			_ = d.decode(c)
			v.Set(reflect.ValueOf([]DeviceID{d}))
			return nil
		}
		return decodeItems(c, v, "device")
	case f.item != "":
		return decodeItems(c, v, f.item)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return decodeValue(c, v.Elem())
	case v.Type() == reflect.TypeFor[Raw]():
		v.Set(reflect.ValueOf(Raw{c}))
		return nil
	}
	return decodeValue(c, v)
}

func decodeItems(e *etree.Element, v reflect.Value, name string) (err error) {
	for _, t := range e.Child {
		c, ok := t.(*etree.Element)
		if !ok || c.Tag != name {
			continue
		}
		item := reflect.New(v.Type().Elem())
		if fault := decodeValue(c, item.Elem()); fault != nil {
			if !Missing(fault) {
				return fault
			}
			err = fault
		}
		v.Set(reflect.Append(v, item.Elem()))
	}
	return err
}

func decodeValue(e *etree.Element, v reflect.Value) error {
	if dec, ok := v.Addr().Interface().(elementDecoder); ok {
		return dec.decode(e)
	}
	text := trim(e.Text())
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return malformed(e.Tag)
		}
		v.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return malformed(e.Tag)
		}
		v.SetInt(int64(n))
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return malformed(e.Tag)
		}
		v.SetFloat(x)
	case reflect.Struct:
		_, err := decodeStruct(e, v)
		return err
	default:
		return fmt.Errorf("uacsta: cannot decode %s", v.Type())
	}
	return nil
}

// formatFloat writes a number in the one way that messages have.
func formatFloat(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

func missing(name string) error {
	return &Error{Category: Operation, Value: InvalidParameterValue, Detail: name + isMissing}
}

const isMissing = " is missing"

// Missing reports whether an error of [Message.Decode] means that an element is missing.
func Missing(err error) bool {
	var fault *Error
	return errors.As(err, &fault) && strings.HasSuffix(fault.Detail, isMissing)
}

func malformed(name string) error {
	return &Error{Category: Operation, Value: InvalidParameterValue, Detail: name + " has no valid value"}
}
