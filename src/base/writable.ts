/** A view of an object whose readonly properties its owner may write. */
export type Writable<T> = { -readonly [Key in keyof T]: T[Key] };
