/** The median of the values; for an even number of values, the upper of the two middle values. */
export const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
