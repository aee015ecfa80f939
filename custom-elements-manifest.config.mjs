export default {
  globs: ['components/rondevu-*.ts', 'components/base-element.ts', 'components/define/*.ts'],
  outdir: '.',
  litelement: true,
  dependencies: false,
};
