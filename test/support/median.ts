/** The median of some values; of an even number of values, the upper of the two in the middle. */
export const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
