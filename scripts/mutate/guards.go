package main

// guards is the code that a package with many changes needs. The environment selects one change by its
// number.
const guards = `
import (
	"cmp"
	"os"
	"strconv"
)

var mutateAsked, _ = strconv.Atoi(os.Getenv("MUTATE"))

func mutateIs(id int) bool { return id == mutateAsked }

func mutateNot(id int, b bool) bool { return b != mutateIs(id) }

func mutateTrue(id int, b bool) bool { return b || mutateIs(id) }

func mutateFalse(id int, b bool) bool { return b && !mutateIs(id) }

func mutateZero[T any](id int, value T) (zero T) {
	if mutateIs(id) {
		return zero
	}
	return value
}

func mutateOrder[T cmp.Ordered](id int, operator string, a, b T) bool {
	if mutateIs(id) { // moved by one
		operator = map[string]string{"<": "<=", "<=": "<", ">": ">=", ">=": ">"}[operator]
	}
	switch operator {
	case "<":
		return mutateNot(id+1, a < b)
	case "<=":
		return mutateNot(id+1, a <= b)
	case ">":
		return mutateNot(id+1, a > b)
	}
	return mutateNot(id+1, a >= b)
}

type mutateNumeric interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr | ~float32 | ~float64
}

func mutateNumber[T mutateNumeric](id int, value T) T {
	switch {
	case !mutateIs(id):
		return value
	case value == 1:
		return 0
	}
	return value + 1
}

func mutateSum[T mutateNumeric](id int, operator string, a, b T) T {
	if mutateIs(id) {
		operator = map[string]string{"+": "-", "-": "+", "*": "/", "/": "*"}[operator]
	}
	switch operator {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	}
	return a / b
}
`
