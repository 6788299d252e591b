package webhook

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/template"
)

// work is what the functions of a template may still do in one execution. Otherwise a template of a stranger could double a
// text until the memory is full, or keep the processor busy.
type work struct{ left int }

const (
	mostWork  = 2 << 20 // octets that functions read
	leastWork = 64      // that a call counts
)

var errWork = fmt.Errorf("the template works on more than %d octets", mostWork)

// does takes the work of reading values so many times.
func (w *work) does(times int, values ...any) error {
	if w.left -= leastWork; w.left < 0 {
		return errWork
	}
	for _, value := range values {
		if w.left -= sizeOf(value) * times; w.left < 0 {
			return errWork
		}
	}
	return nil
}

// sizeOf returns about how many octets the text of a value has.
func sizeOf(value any) (size int) {
	size = 8
	switch v := value.(type) {
	case string:
		size = len(v)
	case json.Number:
		size = len(v)
	case []any:
		for _, item := range v {
			size += sizeOf(item) + 8
		}
	case map[string]any:
		for name, item := range v {
			size += len(name) + sizeOf(item) + 8
		}
	}
	return size
}

var wide = regexp.MustCompile(`%[^a-zA-Z%]*(\*|[0-9]{3})`)

// functions are those of templates: Go's that work on texts, within limits, and json.
func (w *work) functions() template.FuncMap {
	of := func(f func(...any) string) func(...any) (string, error) {
		return func(values ...any) (string, error) {
			if err := w.does(1, values...); err != nil {
				return "", err
			}
			return f(values...), nil
		}
	}
	compared := func(fits func(int) bool) func(a, b any) (bool, error) {
		return func(a, b any) (bool, error) {
			order, err := w.compare(a, b)
			return fits(order), err
		}
	}
	return template.FuncMap{
		"print": of(fmt.Sprint), "println": of(fmt.Sprintln), "html": of(template.HTMLEscaper), "js": of(template.JSEscaper), "urlquery": of(template.URLQueryEscaper),
		"json": func(value any) (string, error) {
			if err := w.does(1, value); err != nil {
				return "", err
			}
			text, err := json.Marshal(value)
			return string(text), err
		},
		"printf": func(format string, values ...any) (string, error) {
			if wide.MatchString(format) {
				return "", errors.New("a width in printf has at most 2 digits")
			}
			if err := w.does(1+strings.Count(format, "%"), append(values, format)...); err != nil {
				return "", err
			}
			return fmt.Sprintf(format, values...), nil
		},
		"turns": turns,
		"eq": func(a any, others ...any) (bool, error) {
			if len(others) == 0 {
				return false, errors.New("eq takes two values")
			}
			for _, b := range others {
				if order, err := w.compare(a, b); err != nil || order == 0 {
					return err == nil, err
				}
			}
			return false, nil
		},
		"ne": compared(func(order int) bool { return order != 0 }),
		"lt": compared(func(order int) bool { return order < 0 }), "le": compared(func(order int) bool { return order <= 0 }),
		"gt": compared(func(order int) bool { return order > 0 }), "ge": compared(func(order int) bool { return order >= 0 }),
	}
}

// turns returns what a loop goes through, if that is not too much; [limited] puts it into each loop.
func turns(value any) (any, error) {
	turns := 0
	switch v := value.(type) {
	case int:
		turns = v
	case []any:
		turns = len(v)
	case map[string]any:
		turns = len(v)
	}
	if turns > mostTurns {
		return nil, fmt.Errorf("a loop with %d turns; at most %d", turns, mostTurns)
	}
	return value, nil
}

// compare compares two texts or numbers, or two values of which each is true, false or absent.
func (w *work) compare(a, b any) (int, error) {
	if err := w.does(1, a, b); err != nil {
		return 0, err
	}
	rank := map[any]int{nil: 0, false: 1, true: 2}
	switch x := a.(type) {
	case int:
		if y, ok := b.(int); ok {
			return cmp.Compare(x, y), nil
		}
	case string, json.Number:
		switch b.(type) {
		case string, json.Number:
			return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)), nil
		}
	case nil, bool:
		switch b.(type) {
		case nil, bool:
			return cmp.Compare(rank[a], rank[b]), nil
		}
	}
	return 0, fmt.Errorf("cannot compare %T with %T", a, b)
}
