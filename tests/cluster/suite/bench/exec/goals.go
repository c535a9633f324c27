package main

import "fmt"

type goals []string

func (g *goals) add(what, found, goal string, met bool) {
	verdict := "missed"
	if met {
		verdict = "met"
	}
	*g = append(*g, fmt.Sprintf("%-55s %12s  goal %-8s %s", what, found, goal, verdict))
}

func (g *goals) print() {
	if len(*g) > 0 {
		fmt.Println("\nGoals:")
	}
	for _, line := range *g {
		fmt.Println("  " + line)
	}
}
